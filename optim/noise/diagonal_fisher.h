// eps = sqrt(kappa) sqrt(diag F) xi (Algorithm 1): covariance kappa diag(F), the diagonal of what small batches would
// add. Cost: the second moment, collected in the sweep that computes the weight gradient.
#pragma once

#include "optim/noise/noise.h"

namespace noisysgd {

class DiagonalFisherNoise : public NoiseStructure {
 public:
  // large_batch: none takes the size of each batch, so that a shorter last batch gets the noise that it lacks.
  DiagonalFisherNoise(int64_t small_batch, std::optional<int64_t> large_batch)
      : small_batch_(small_batch), large_batch_(large_batch) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json) {
    const int64_t small_batch = json.integer("small_batch", {.default_value = 128, .at_least = 1});
    const auto large_batch = json.optional_integer("large_batch", {.at_least = 1});
    if (large_batch && *large_batch <= small_batch)
      json.error("large_batch",
                 fmt::format("must be above small_batch ({}): otherwise there is no noise to add", small_batch));
    return std::make_unique<DiagonalFisherNoise>(small_batch, large_batch);
  }

  bool needs_second_moment() const override { return true; }

  void prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) override {
    const auto kappa = static_cast<float>(noise_kappa(large_batch_.value_or(step.batch), small_batch_));
    if (kappa == 0) return;
    for (size_t i = 0; i < segments.size(); ++i) {
      kernels::NoiseCoefficients& noise = segments[i].noise;
      noise = fisher_diagonal_coefficients(step.fisher, *step.parameters[i], step.batch);
      noise.second_moment *= kappa;
      noise.gradient_sum *= kappa;
    }
  }

 private:
  int64_t small_batch_;
  std::optional<int64_t> large_batch_;
};

}  // namespace noisysgd
