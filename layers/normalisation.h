// What a batch normalisation and the linear layer or convolution right before it tell each other. Both are in one
// sequence, and nothing else reads the output z of the layer before. xhat = (z - mean) inverse_std in ghost batches of
// `group` samples.
#pragma once

#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/batch_norm_parts.h>

namespace noisysgd {

struct Normalisation {
  int64_t group = 0;  // from the sequence, before the forward pass

  // In forward, from a convolution that computes them: the statistics of blocks of z (BatchNormBlocks),
  // [groups,count,C] of f64. Undefined: the batch normalisation computes them.
  Tensor block_mean = {}, block_m2 = {};
  int64_t block_positions = 0;
  bool takes_factors = false;  // the convolution applies `factors` itself

  // In backward, from the batch normalisation, if Statistics::center_normalised: z [M,T,C], mean and inverse_std
  // [groups,C].
  Tensor z = {}, mean = {}, inverse_std = {};
  // In backward, from the batch normalisation: BatchNormFactors [3,groups,C]. The gradient that reaches z is then that
  // of the normalised values. Undefined: it is the gradient of z.
  Tensor factors = {};

  kernels::BatchNormBlocks blocks() const {
    return {block_mean.shape()[1], block_positions, block_mean.data<double>(), block_m2.data<double>()};
  }
};

// Views of [3,groups,C].
inline kernels::BatchNormFactors factors_in(const Tensor& factors) {
  float* const first = factors.f32();
  const int64_t one = factors.elements() / 3;
  return {first, first + one, first + 2 * one};
}

}  // namespace noisysgd
