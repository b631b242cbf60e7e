// Gradients times a Gaussian of mean 1 (Hoffer et al. 2017):
//   per coordinate  g (1 + sigma xi): covariance sigma^2 diag(g^2), g the mean gradient
//   per sample      (1/M) sum_n (1 + sigma xi_n) g_n: covariance (sigma^2/M) F
// Cost: none; per sample, one more backward pass in the cases listed in optim/noise/structure.h.
#pragma once

#include <noisysgd/kernels/reduce.h>
#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

class MultiplicativeNoise : public NoiseStructure {
 public:
  MultiplicativeNoise(double sigma, bool per_sample) : sigma_(sigma), per_sample_(per_sample) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json) {
    const double sigma = read_amplitude(json, "sigma");
    return std::make_unique<MultiplicativeNoise>(
        sigma, json.choice<bool>("per", {{"coordinate", false}, {"sample", true}}, false));
  }

  NoiseCapabilities capabilities() const override { return {.sample_weights = per_sample_}; }
  std::optional<kernels::SampleWeights> sample_weights(const NoiseBatch&) const override {
    if (!per_sample_) return {};
    return {{.draw = kernels::SampleDraw::normal, .scale = static_cast<float>(sigma_)}};
  }

  void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) override {
    if (per_sample_) return use_signed_sums(step, fields);
    const double relative = sigma_ / static_cast<double>(step.batch);
    for (kernels::NoiseField& field : fields) field.variance.gradient_sum = static_cast<float>(relative * relative);
  }

  Tensor trace(const NoiseStep& step) const override {
    const auto samples = static_cast<double>(step.batch);
    if (per_sample_) return trace_of_samples(step, sigma_ * sigma_ / samples);
    std::vector<kernels::SummedTensor> gradients;
    for (const Parameter* parameter : step.parameters)
      gradients.push_back({parameter->shape.elements(), step.sums.gradient.at(*parameter)});
    const Tensor sums(step.context, {1, 2}, DType::f64);
    kernels::tensor_sums(step.context.queue, gradients, 1, sums.data<double>());
    const std::vector<kernels::ScalarTerm> squares{{1, sums.data<double>() + 1}};
    Tensor trace(step.context, {1}, DType::f64);
    kernels::weighted_total(step.context.queue, sigma_ * sigma_ / (samples * samples), 0, squares,
                            trace.data<double>());
    return trace;
  }

 private:
  double sigma_;
  bool per_sample_;
};

}  // namespace noisysgd
