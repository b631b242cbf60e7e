// Batch normalisation in parts, for layers beside a convolution whose kernels compute the rest of it (conv_block.h).
// With factor = gamma inverse_std and term = beta - mean factor for each ghost group and channel, the forward pass is
//
//   y = max(0, x factor + term + addend)
//
// and the gradient of x is an affine map of that of the normalised values, g, the gradient of the ReLU's input:
//
//   grad_x = g factors.grad + x factors.x + factors.term,  factors.grad = gamma inverse_std
//   factors.x = -factors.grad slope,  factors.term = -factors.grad offset - factors.x mean
//
// with offset = mean(g) and slope = mean(g (x - mean)) inverse_std^2 over the samples and positions of the group.
// [M,T,C] activations, shapes and accuracy as in batch_norm.h.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/batch_norm.h>

namespace noisysgd::kernels {

// What the statistics of a training batch become.
struct BatchNormStatistics {
  float epsilon;
  const float *gamma, *beta;  // [C]
  float momentum;
  float *running_mean, *running_variance;  // [C], updated as by BatchNormForward
  float *mean, *inverse_std;               // [groups,C], overwritten
  float *factor, *term;                    // [groups,C], overwritten; null: not wanted
};
NSGD_TYPED_OP(batch_norm_statistics,
              void(Queue& queue, const BatchNormShape& shape, const BatchNormStatistics& arrays, ConstValues x));

// Mean and sum of squared deviations from it of consecutive blocks of `positions` positions of each group, the last of
// which may have fewer: [groups,count,C].
struct BatchNormBlocks {
  int64_t count, positions;
  const double *mean, *m2;
};
// The same from these blocks.
NSGD_OP(batch_norm_merge_statistics, void(Queue& queue, const BatchNormShape& shape, const BatchNormBlocks& blocks,
                                          const BatchNormStatistics& arrays));

// For each sample and each of `parts` parts of its positions the sums of g and of g (x - mean).
struct BatchNormGradientSums {
  const float* sums;  // [M,parts,C,2]
  int64_t parts;
  const float *gamma, *mean, *inverse_std;  // of the forward pass
  // Accumulated; each may be null: see BatchNormBackward.
  float *grad_gamma = nullptr, *grad_beta = nullptr, *gamma_second_moment = nullptr, *beta_second_moment = nullptr;
  BatchNormFactors factors;  // overwritten
};
NSGD_OP(batch_norm_merge_gradients,
        void(Queue& queue, const BatchNormShape& shape, const BatchNormGradientSums& arrays));

// grad_x from g; grad_x may be g.
NSGD_TYPED_OP(batch_norm_input_gradient,
              void(Queue& queue, const BatchNormShape& shape, const BatchNormFactors& factors, ConstValues x,
                   ConstValues g, Values grad_x));

// batch_norm_forward is batch_norm_statistics and then batch_norm_normalised with these arrays.
inline BatchNormStatistics statistics_of(const BatchNormForward& of) {
  return {of.epsilon,          of.gamma, of.beta,        of.momentum, of.running_mean,
          of.running_variance, of.mean,  of.inverse_std, nullptr,     nullptr};
}
inline BatchNormNormalised normalised_of(const BatchNormForward& of) {
  return {of.mean, of.inverse_std, of.gamma, of.beta, of.epilogue};
}

// Throw Error for arguments that do not fit together.
void check(const BatchNormShape& shape, const BatchNormStatistics& arrays);
void check(const BatchNormShape& shape, const BatchNormBlocks& blocks);

}  // namespace noisysgd::kernels
