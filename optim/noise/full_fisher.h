// eps = (s/M) sum_n sigma_n g_n with s = sqrt(kappa M): covariance kappa F, the full Fisher matrix (Appendix F, which
// leaves out the factor s/M). sigma by `signs`:
//   rademacher  +-1 per sample
//   gaussian    N(0,1) per sample
//   subset      u_n = M/M_S - 1 on M_S random samples and -1 on the others: a small batch, covariance kappa S^2
//   ghost       +-1 per ghost batch: the covariance of ghost-batch gradients with their coupling, of rank <= M/B_g
// `centered` subtracts the mean of the signs and scales by sqrt(M/(M-1)) (ghost: with the number of groups): covariance
// kappa S^2 exactly.
// Cost: none as loss weights; one more backward pass in the cases listed in optim/noise/structure.h.
#pragma once

#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

enum class FisherSigns { rademacher, gaussian, subset, ghost };

class FullFisherNoise : public NoiseStructure {
 public:
  FullFisherNoise(const NoiseBatchSizes& sizes, FisherSigns signs, bool centered)
      : sizes_(sizes), signs_(signs), centered_(centered) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json);

  NoiseCapabilities capabilities() const override { return {.sample_weights = true}; }
  bool acts_on(int64_t batch) const override { return sizes_.act_on(batch); }
  std::optional<kernels::SampleWeights> sample_weights(const NoiseBatch& batch) const override;
  void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) override {
    use_signed_sums(step, fields);
  }
  Tensor trace(const NoiseStep& step) const override;

 private:
  NoiseBatchSizes sizes_;
  FisherSigns signs_;
  bool centered_;
};

}  // namespace noisysgd
