// The convolution's weight gradient and its per-sample second moment in one pass over the batch.
// With G_n[k,r,s,c] = sum_t grad_y[n,t,k] x[n,t+(r,s),c] (sum over output positions t):
//   exact:    second_moment += sum_n G_n^2            (the diagonal of the Fisher matrix itself)
//   spatial:  second_moment += sum_n sum_t grad_y^2 x^2   (Appendix C.2: the product of squared patches and gradients)
// Both also compute grad_weight += sum_n G_n, unless grad_weight is null. Per-sample gradients stay in registers: no
// array of size N x P is stored.
// On the CPU the bits of the results depend on the instruction set but not on the thread count, and the bits of
// grad_weight do not depend on which other sums are requested.
// On a CUDA device operands are rounded as far as the queue's precision allows, except that G_n - C_n (SampleSums) is
// always formed in single precision, from a copy of x if x is made of other arrays (ConvOperand). docs/cuda.md says
// which kernel computes which shape.
#pragma once

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/second_moment.h>

namespace noisysgd::kernels {

NSGD_TYPED_OP(conv_second_moment_spatial, void(Queue& queue, const ConvShape& shape,
                                               ConstValues x,           // [N,H,W,C]
                                               ConstValues grad_y,      // [N,Ho,Wo,K]
                                               float* grad_weight,      // [K,R,S,C], accumulated
                                               float* second_moment));  // [K,R,S,C], accumulated
// Further sums over the per-sample gradients G_n, formed in the same pass. Each is accumulated, or null.
struct SampleSums {
  float* second_moment = nullptr;  // [K,R,S,C] += sum_n (G_n - C_n)^2
  // C_n[k,p] = tap_mean[p] channel_sum[n,k] + slope[k,p] channel_product[n,k]: the part of G_n that a batch
  // normalisation makes vanish in the sum over the samples (layers/centered_sums.h). C_n = 0 if these four are null.
  const float* tap_mean = nullptr;         // [R,S,C]
  const float* slope = nullptr;            // [K,R,S,C]
  const float* channel_sum = nullptr;      // [N,K]
  const float* channel_product = nullptr;  // [N,K]

  float* signed_sum = nullptr;   // [K,R,S,C] += sum_n signs[n,k] G_n: a draw of noise
  const float* signs = nullptr;  // [N,K]
};
NSGD_TYPED_OP(conv_sample_sums, void(Queue& queue, const ConvShape& shape, const ConvOperand& x, ConstValues grad_y,
                                     const SampleSums& sums, float* grad_weight));  // [K,R,S,C], accumulated
// The sums of G_n and, if second_moment is not null, of G_n^2 from operands in bf16, by the asynchronous products of a
// device of compute capability 9.0. Returns false, having done nothing, on every other device and for shapes without
// them (docs/cuda.md). Neither the queue's precision nor NSGD_WGMMA matters. Throws Error for operands of other types.
NSGD_OP(conv_sample_sums_bf16, bool(Queue& queue, const ConvShape& shape,
                                    ConstValues x,         // [N,H,W,C]
                                    ConstValues grad_y,    // [N,Ho,Wo,K]
                                    float* second_moment,  // [K,R,S,C], accumulated, or null
                                    float* grad_weight));  // [K,R,S,C], accumulated
inline void conv_second_moment_exact(Queue& queue, const ConvShape& shape, const ConvOperand& x, ConstValues grad_y,
                                     float* grad_weight, float* second_moment) {
  conv_sample_sums(queue, shape, x, grad_y, SampleSums{.second_moment = second_moment}, grad_weight);
}
// The same pass without further sums: a conv_backward_weight that is faster than the library for some shapes.
inline void conv_backward_weight_direct(Queue& queue, const ConvShape& shape, const ConvOperand& x, ConstValues grad_y,
                                        float* grad_weight) {
  conv_sample_sums(queue, shape, x, grad_y, SampleSums{}, grad_weight);
}

}  // namespace noisysgd::kernels
