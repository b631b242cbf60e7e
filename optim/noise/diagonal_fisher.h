// eps = sqrt(kappa) sqrt(diag F) xi (Algorithm 1): covariance kappa diag(F), the diagonal of the covariance that small
// batches would add. Cost: the second moment, collected in the pass of the weight gradient.
#pragma once

#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

class DiagonalFisherNoise : public NoiseStructure {
 public:
  explicit DiagonalFisherNoise(const NoiseBatchSizes& sizes) : sizes_(sizes) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json) {
    return std::make_unique<DiagonalFisherNoise>(NoiseBatchSizes::read(json));
  }

  bool acts_on(int64_t batch) const override { return sizes_.act_on(batch); }
  NoiseCapabilities capabilities() const override { return {.second_moment = true}; }

  void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) override {
    const double kappa = sizes_.kappa(step.batch);
    if (kappa == 0) return;
    for (size_t i = 0; i < fields.size(); ++i) use_fisher_diagonal(step, *step.parameters[i], kappa, fields[i]);
  }

  Tensor trace(const NoiseStep& step) const override {
    return fisher_trace(step.context, step.fisher, step.parameters, sizes_.kappa(step.batch));
  }

 private:
  NoiseBatchSizes sizes_;
};

}  // namespace noisysgd
