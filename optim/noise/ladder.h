// Noise between full_fisher and diagonal_fisher: signs with a finer index than the sample. G_l,n is the gradient of
// sample n in layer l, G_l,n,i its part of output channel i (weights into it and its bias), G_l,n,t its part of position
// t; s = sqrt(kappa M):
//   block_fisher     eps_l = (s/M) sum_n sigma_ln G_l,n        covariance kappa F without the blocks between layers
//   unit_fisher      eps_li = (s/M) sum_n sigma_lni G_l,n,i    kappa F between weights of one output channel, else 0
//   position_fisher  eps_l = (s/M) sum_nt sigma_lnt G_l,n,t    kappa (1/M) sum_nt G_l,n,t G_l,n,t^T: its diagonal is
//                                                             that of fisher.conv "spatial"
// Cost of the first two: little more than that of the second moment if the signed sum is formed in the weight-gradient
// pass, as on the CPU and in the window kernel of a device. Otherwise, and for position_fisher: one more
// weight-gradient pass per layer. Layers must support signed sums (core/statistics.h), as linear, conv2d and batch_norm
// do. A parameter of another layer is an error at start-up, unless noise.parameters leaves it out.
#pragma once

#include <noisysgd/kernels/reduce.h>
#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

template <kernels::SignGrain grain>
class LadderNoise : public NoiseStructure {
 public:
  explicit LadderNoise(const NoiseBatchSizes& sizes) : sizes_(sizes) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json) {
    return std::make_unique<LadderNoise>(NoiseBatchSizes::read(json));
  }

  NoiseCapabilities capabilities() const override { return {.signs = grain, .signed_variance = of_positions}; }
  bool acts_on(int64_t batch) const override { return sizes_.act_on(batch); }
  NoiseCollects collects(const NoiseBatch& batch, int64_t) const override {
    const double scale = sizes_.sign_scale(batch.samples) / static_cast<double>(batch.samples);
    return {.signs = {grain, static_cast<float>(scale)}};
  }
  void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) override {
    use_signed_sums(step, fields);
  }
  Tensor trace(const NoiseStep& step) const override {
    return of_positions ? trace_of_signs(step) : trace_of_samples(step, sizes_.kappa(step.batch));
  }

 private:
  // `fisher` cannot configure diag(F) of single positions for all parameters, so the passes collect it.
  static constexpr bool of_positions = grain == kernels::SignGrain::sample_position;

  static Tensor trace_of_signs(const NoiseStep& step) {
    std::vector<kernels::SummedTensor> variances;
    for (const Parameter* parameter : step.parameters)
      variances.push_back({parameter->shape.elements(), step.sums.signed_variance.at(*parameter)});
    const Tensor sums(step.context, {1, 2}, DType::f64);
    kernels::tensor_sums(step.context.queue, variances, 1, sums.data<double>());
    const std::vector<kernels::ScalarTerm> total{{1, sums.data<double>()}};
    Tensor trace(step.context, {1}, DType::f64);
    kernels::weighted_total(step.context.queue, 1, 0, total, trace.data<double>());
    return trace;
  }

  NoiseBatchSizes sizes_;
};

using BlockFisherNoise = LadderNoise<kernels::SignGrain::sample>;
using UnitFisherNoise = LadderNoise<kernels::SignGrain::sample_channel>;
using PositionFisherNoise = LadderNoise<kernels::SignGrain::sample_position>;

}  // namespace noisysgd
