// Squared norms of the gradients of single samples. Gradients are formed in single precision, whatever the queue's, and
// their squares are added in double; each op adds its sum to the norms in single precision.
#pragma once

#include <noisysgd/kernels/conv.h>

namespace noisysgd::kernels {

// norms[n] += |y_n|^2 |x_n|^2: of the outer product of y_n and x_n, a linear layer's gradient. x null: of y_n itself.
NSGD_OP(sample_norms, void(Queue& queue, int64_t samples, int64_t outputs, const float* y,  // [N,K]
                           int64_t inputs, const float* x,                                  // [N,C] or null
                           float* norms));                                                  // [N], accumulated

// norms[n] += sum_krsc (sum_t grad_y[n,t,k] x[n,t+(r,s),c])^2: of a convolution's weight gradient.
NSGD_OP(conv_sample_norms, void(Queue& queue, const ConvShape& shape, const float* x,  // [N,H,W,C]
                                const float* grad_y,                                   // [N,Ho,Wo,K]
                                float* norms));                                        // [N], accumulated

}  // namespace noisysgd::kernels
