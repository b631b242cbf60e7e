// Two parameters with random values and sums of a batch, as a step finds them.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include <noisysgd/core/config.h>
#include <noisysgd/core/json.h>
#include <noisysgd/optim/noise/noise.h>
#include <noisysgd/optim/sgd.h>
#include "tests/random_tensor.h"

namespace noisysgd::test {

struct Parameters {
  explicit Parameters(bool second_moment = true) : set(context, {&weight, &bias}) {
    sums.gradient = Block(context, set);
    if (second_moment) sums.second_moment = Block(context, set);
    uint32_t stream = 0;
    for (const Parameter* parameter : set.list()) {
      put(parameter->value, ++stream);
      put(sums.gradient.of(*parameter), ++stream);
      if (!second_moment) continue;
      // Large enough that the centred variance of `batch` samples is positive.
      for (int64_t i = 0; i < parameter->shape.elements(); ++i) {
        const float sum = sums.gradient.at(*parameter)[i];
        sums.second_moment.at(*parameter)[i] = sum * sum / static_cast<float>(batch) + 0.1f + 0.02f * std::abs(sum);
      }
    }
  }
  const std::vector<Parameter*>& all() const { return set.list(); }

  static void put(const Tensor& tensor, uint32_t stream) {
    const std::vector<float> values = random_tensor(tensor.elements(), stream, 0, 2);
    std::copy(values.begin(), values.end(), tensor.f32());
  }

  static constexpr int64_t batch = 32;
  Context context;
  Parameter weight{"layer.weight", {7, 5}};
  Parameter bias{"layer.bias", {7}};
  ParameterSet set;
  Sums sums;
};

inline Noise noise_from(const std::string& json) {
  Config config(parse_json(json, "test"), "test");
  Noise noise = Noise::read(config.root(), NoiseRegistry::builtin());
  config.finish();
  return noise;
}

inline std::vector<float> gather(const std::vector<Parameter*>& parameters, const Block& block) {
  std::vector<float> values;
  for (const Parameter* parameter : parameters)
    values.insert(values.end(), block.at(*parameter), block.at(*parameter) + parameter->shape.elements());
  return values;
}

inline std::vector<float> values_of(const std::vector<Parameter*>& parameters) {
  std::vector<float> values;
  for (const Parameter* parameter : parameters)
    values.insert(values.end(), parameter->value.f32(), parameter->value.f32() + parameter->shape.elements());
  return values;
}

inline std::vector<float> gather(const std::vector<Tensor>& tensors) {
  std::vector<float> values;
  for (const Tensor& tensor : tensors) {
    const auto span = tensor.span<float>();
    values.insert(values.end(), span.begin(), span.end());
  }
  return values;
}

// A run's noise on given sums.
class NoiseOfSums {
 public:
  NoiseOfSums(Parameters& parameters, const std::string& json, const FisherOptions& fisher = {})
      : noise(noise_from(json)), parameters_(parameters), fisher_(fisher) {
    noise.begin(parameters.context, parameters.set, fisher);
  }
  std::vector<kernels::NoiseField> fields(uint64_t seed, uint32_t step, std::vector<Tensor>& kept) {
    const NoisePlan plan = noise.plan(fisher_, {Parameters::batch}, step, true);
    return noise.prepare(parameters_.context, plan, fisher_, parameters_.sums, Parameters::batch, seed, step, kept);
  }
  std::vector<float> draw(uint64_t seed, uint32_t step) {
    std::vector<Tensor> kept, draws;
    const std::vector<kernels::NoiseField> of = fields(seed, step, kept);
    for (const Parameter* parameter : parameters_.all()) {
      const kernels::NoiseDraw draw{parameter->shape.elements(), parameters_.sums.gradient.at(*parameter),
                                    of[parameter->index], seed, step, parameter->index};
      kernels::draw_noise(parameters_.context.queue, draw, draws.emplace_back(parameters_.context, parameter->shape).f32());
    }
    return gather(draws);
  }

  Noise noise;

 private:
  Parameters& parameters_;
  FisherOptions fisher_;
};

}  // namespace noisysgd::test
