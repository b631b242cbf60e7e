// The weight gradient of 3x3 convolutions and its exact per-sample second moment on tensor cores: operands rounded to
// tf32, sums in fp32. For the shapes of residual and VGG networks: padding 1, stride 1 or 2, square outputs of 4, 8, 16
// or 32 positions, channels that fill whole tiles.
#pragma once

#include "kernels/conv.h"

namespace noisysgd::kernels::cuda {

// The number of partial sums that the kernel writes; 0: it cannot take this shape or these addresses.
int64_t conv_tensor_shares(const ConvShape& shape, const float* x, const float* grad_y);

// partial [shares,moments,K,R,S,C]: per share of the samples sum_n G_n and, for two moments, sum_n G_n^2.
void conv_tensor_weight_gradient(Queue& queue, const ConvShape& shape, int moments, const float* x, const float* grad_y,
                                 float* partial);

}  // namespace noisysgd::kernels::cuda
