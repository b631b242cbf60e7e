// eps = (s/M) sum_n (grad l_n(y_n) - E_y grad l_n(y)) with random labels y_n and s = sqrt(kappa M). `labels`:
//   uniform  equal probabilities: covariance kappa (1/M) sum_n J_n^T (I/K - 1 1^T/K^2) J_n, J_n = d logits / d theta
//   model    drawn from the prediction, where the mean is 0: covariance kappa times the true Fisher matrix
//            (1/M) sum_n J_n^T (diag p - p p^T) J_n (Appendix F)
// Without label smoothing. Cost: one more backward pass.
#pragma once

#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

class LabelNoise : public NoiseStructure {
 public:
  LabelNoise(const NoiseBatchSizes& sizes, Labels labels) : sizes_(sizes), labels_(labels) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json) {
    const auto labels = json.choice<Labels>(
        "labels", {{"uniform", Labels::uniform}, {"model", Labels::model}}, Labels::uniform);
    return std::make_unique<LabelNoise>(NoiseBatchSizes::read(json), labels);
  }

  NoiseCapabilities capabilities() const override { return {.sample_weights = true}; }
  bool acts_on(int64_t batch) const override { return sizes_.act_on(batch); }
  NoiseCollects collects(const NoiseBatch&, int64_t) const override { return {.labels = labels_}; }
  std::optional<kernels::SampleWeights> sample_weights(const NoiseBatch& batch) const override {
    return {{.scale = static_cast<float>(sizes_.sign_scale(batch.samples))}};
  }
  void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) override {
    use_signed_sums(step, fields);
  }

 private:
  NoiseBatchSizes sizes_;
  Labels labels_;
};

}  // namespace noisysgd
