// The convolution's weight gradient and its per-sample second moment in one pass over the batch.
// With G_n[k,r,s,c] = sum_t grad_y[n,t,k] x[n,t+(r,s),c] (sum over output positions t):
//   exact:    second_moment += sum_n G_n^2            (the diagonal of the Fisher matrix itself)
//   spatial:  second_moment += sum_n sum_t grad_y^2 x^2   (Appendix C.2: the product of squared patches and gradients)
// and in both grad_weight += sum_n G_n. Per-sample gradients live in registers; nothing of size N x P is stored. On the
// CPU the bits depend on the instruction set, not on the threads, and grad_weight's not on which statistic is asked
// for. On a CUDA device operands are rounded as far as the queue's precision allows; docs/cuda.md says which kernel takes
// which shape.
#pragma once

#include "kernels/conv.h"

namespace noisysgd::kernels {

NSGD_OP(conv_second_moment_exact, void(Queue& queue, const ConvShape& shape,
                                       const float* x,          // [N,H,W,C]
                                       const float* grad_y,     // [N,Ho,Wo,K]
                                       float* grad_weight,      // [K,R,S,C], accumulated
                                       float* second_moment));  // [K,R,S,C], accumulated
NSGD_OP(conv_second_moment_spatial, void(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y,
                                         float* grad_weight, float* second_moment));
// The same pass without a second moment: conv_backward_weight where it beats the library.
NSGD_OP(conv_backward_weight_direct,
        void(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y, float* grad_weight));

}  // namespace noisysgd::kernels
