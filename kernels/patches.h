// The patches that a convolution multiplies with its filters, as rows (im2col), for its Kronecker factor.
#pragma once

#include <noisysgd/kernels/conv.h>

namespace noisysgd::kernels {

// patches[n,t,:] = x[n,t+(r,s),c] over r, s, c, zero outside the image. With `homogeneous`, one more column of ones
// follows: the input of the bias.
NSGD_OP(conv_patches, void(Queue& queue, const ConvShape& shape, bool homogeneous, const float* x,
                           float* patches));  // [N,T,R*S*C (+1)], overwritten

}  // namespace noisysgd::kernels
