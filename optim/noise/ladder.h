// Between full and diagonal: signs of a finer index than the sample. With G_l,n the gradient of sample n in layer l,
// G_l,n,i its part of output channel i (weights into it and its bias), G_l,n,t that of position t; s = sqrt(kappa M):
//   block_fisher     eps_l = (s/M) sum_n sigma_ln G_l,n        covariance kappa F without the blocks between layers
//   unit_fisher      eps_li = (s/M) sum_n sigma_lni G_l,n,i    kappa F between weights of one output channel, else 0
//   position_fisher  eps_l = (s/M) sum_nt sigma_lnt G_l,n,t    kappa (1/M) sum_nt G_l,n,t G_l,n,t^T: its diagonal is
//                                                             that of fisher.conv "spatial"
// Cost: of the first two little more than the second moment's where the signed sum is formed in the sweep of the weight
// gradient, on the CPU and by the window kernel of a device; elsewhere, and of position_fisher, one more
// weight-gradient pass per layer. Layers must give signed sums (core/statistics.h): linear, conv2d and batch_norm do; a
// parameter of another layer is an error at the start, unless noise.parameters leaves it out.
#pragma once

#include "optim/noise/noise.h"

namespace noisysgd {

template <kernels::SignGrain grain>
class LadderNoise : public NoiseStructure {
 public:
  explicit LadderNoise(const NoiseBatchSizes& sizes) : sizes_(sizes) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json) {
    return std::make_unique<LadderNoise>(NoiseBatchSizes::read(json));
  }

  bool acts_on(int64_t batch) const override { return sizes_.act_on(batch); }
  NoiseNeeds needs(const NoiseBatch& batch) const override {
    const double scale = sizes_.sign_scale(batch.samples) / static_cast<double>(batch.samples);
    return {.signs = {grain, static_cast<float>(scale), batch.seed, batch.step}};
  }
  void prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) override {
    use_noise_sums(step, segments);
  }
  Tensor trace(const NoiseStep& step) const override {
    if (grain == kernels::SignGrain::sample_position && step.fisher.conv != SecondMoment::spatial) return {};
    return trace_of_samples(step, sizes_.kappa(step.batch));
  }

 private:
  NoiseBatchSizes sizes_;
};

using BlockFisherNoise = LadderNoise<kernels::SignGrain::sample>;
using UnitFisherNoise = LadderNoise<kernels::SignGrain::sample_channel>;
using PositionFisherNoise = LadderNoise<kernels::SignGrain::sample_position>;

}  // namespace noisysgd
