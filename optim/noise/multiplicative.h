// Gradients times a Gaussian of mean 1 (Hoffer et al. 2017):
//   per coordinate  g (1 + sigma xi): covariance sigma^2 diag(g^2), g the mean gradient
//   per sample      (1/M) sum_n (1 + sigma xi_n) g_n: covariance (sigma^2/M) F
// Cost: none (per sample: where optim/noise/noise.h says so, one more backward pass).
#pragma once

#include "kernels/reduce.h"
#include "optim/noise/sample_draws.h"

namespace noisysgd {

class MultiplicativeNoise : public NoiseStructure {
 public:
  MultiplicativeNoise(double sigma, bool per_sample) : sigma_(sigma), per_sample_(per_sample) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json) {
    const double sigma = json.number("sigma", {.at_least = 0});
    return std::make_unique<MultiplicativeNoise>(
        sigma, json.choice<bool>("per", {{"coordinate", false}, {"sample", true}}, false));
  }

  bool weighs_samples() const override { return per_sample_; }

  std::vector<float> sample_weights(const NoiseBatch& batch) const override {
    const RandomStream stream = sample_stream(batch);
    std::vector<float> weights(static_cast<size_t>(batch.samples));
    for (size_t n = 0; n < weights.size(); ++n) weights[n] = static_cast<float>(sigma_) * sample_normal(stream, n);
    return weights;
  }

  void prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) override {
    if (per_sample_) return use_noise_sums(step, segments);
    const double relative = sigma_ / static_cast<double>(step.batch);
    for (kernels::SgdSegment& segment : segments) segment.noise.gradient_sum = static_cast<float>(relative * relative);
  }

  std::optional<double> trace(const NoiseStep& step) const override {
    const auto samples = static_cast<double>(step.batch);
    if (per_sample_) return trace_of_samples(step, sigma_ * sigma_ / samples);
    kernels::TensorSums sums;
    for (const Parameter* parameter : step.parameters)
      kernels::tensor_sums(step.context.queue, parameter->shape.elements(), parameter->gradient_sum.f32(), &sums);
    return sigma_ * sigma_ * sums.sum_of_squares / (samples * samples);
  }

 private:
  double sigma_;
  bool per_sample_;
};

}  // namespace noisysgd
