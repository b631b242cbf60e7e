// What backward passes collect, for tests that look at layers and models without a training step.
#pragma once

#include <vector>

#include <noisysgd/core/device_value.h>
#include <noisysgd/layers/model.h>

namespace noisysgd::test {

// All that can be collected of these parameters, but for Kronecker factors; zero.
inline Sums all_sums(Context& context, const ParameterSet& parameters) {
  return {.gradient = Block(context, parameters),
          .second_moment = Block(context, parameters),
          .signed_sum = Block(context, parameters),
          .signed_variance = Block(context, parameters)};
}

// One block of the sums, parameter after parameter.
inline std::vector<float> values_of(Context& context, const std::vector<Parameter*>& parameters, const Block& block) {
  std::vector<float> values;
  for (const Parameter* parameter : parameters) {
    const std::vector<float> own = to_host<float>(context, block.of(*parameter));
    values.insert(values.end(), own.begin(), own.end());
  }
  return values;
}

// The passes of one batch: the gradient at the data's labels; the statistics, in the same pass or at `fisher_labels`;
// and with noise weights one more pass into the signed sums.
struct Passes {
  Statistics collect = {};
  Labels fisher_labels = Labels::data;
  Tensor weights = {}, noise_weights = {};
  ForwardOptions forward = {};
};

inline kernels::LossSums accumulate(Model& model, const Batch& batch, const Passes& passes, const Sums& sums) {
  const DeviceValue<kernels::LossSums> losses(model.context());
  BackwardJob gradient{
      .loss = {Labels::data, passes.weights}, .collect = passes.collect, .into = sums, .losses = losses.place()};
  std::vector<BackwardJob> jobs;
  if (passes.fisher_labels != Labels::data) {
    jobs.push_back({.loss = {passes.fisher_labels, {}}, .collect = passes.collect, .into = sums});
    jobs.back().into.gradient = {};
    gradient.collect = {};
  }
  if (passes.noise_weights.defined())
    jobs.push_back(
        {.loss = {passes.fisher_labels, passes.noise_weights}, .into = {.gradient = sums.signed_sum}});
  jobs.push_back(gradient);
  model.accumulate(batch, passes.forward, jobs);
  return losses.read();
}

}  // namespace noisysgd::test
