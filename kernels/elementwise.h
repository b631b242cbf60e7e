// Elementwise ops and layout changes. On a CUDA device values between layers may be stored in fp16 and their gradients
// in bf16; arrays of one op have the same type but for these two.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels {

NSGD_OP(fill, void(Queue& queue, int64_t n, float value, float* x));
NSGD_TYPED_OP(relu_forward, void(Queue& queue, int64_t n, ConstValues x, Values y));  // y may be x
NSGD_TYPED_OP(relu_backward,
              void(Queue& queue, int64_t n, ConstValues y, ConstValues grad_y, Values grad_x));  // grad_x may be grad_y
NSGD_TYPED_OP(add, void(Queue& queue, int64_t n, ConstValues x, Values y));                      // y += x
NSGD_OP(add_square, void(Queue& queue, int64_t n, const float* x, float* y));                    // y += x^2
NSGD_OP(scale,
        void(Queue& queue, int64_t n, Number<float> factor, const float* x, float* y));  // y = factor x; y may be x

// y = x * keep/(1-probability). Word offset+i of the stream decides whether element i is kept; with the micro-batch's
// offset in the batch, the mask does not depend on micro-batching. Backward is the same call on the gradient. y may be
// x.
NSGD_TYPED_OP(dropout, void(Queue& queue, int64_t n, float probability, const RandomStream& stream, uint64_t offset,
                            ConstValues x, Values y));

// y[n,c,t] = x[n,t,c] and its inverse: [N,H,W,C] <-> PyTorch's flatten order [N,C*H*W]. Only the former may be stored
// in 16 bits.
NSGD_TYPED_OP(nhwc_to_nchw,
              void(Queue& queue, int64_t batch, int64_t positions, int64_t channels, ConstValues x, float* y));
NSGD_TYPED_OP(nchw_to_nhwc,
              void(Queue& queue, int64_t batch, int64_t positions, int64_t channels, const float* x, Values y));

// Option-A shortcut: y[n,i,j,:] = x[n,i*stride,j*stride,:] followed by zeros up to out_channels.
struct PadShape {
  int64_t batch, height, width, in_channels;
  int64_t stride, out_channels;
};
NSGD_TYPED_OP(pad_channels_forward, void(Queue& queue, const PadShape& shape, ConstValues x, Values y));
NSGD_TYPED_OP(pad_channels_backward,
              void(Queue& queue, const PadShape& shape, ConstValues grad_y, Values grad_x));  // overwritten

}  // namespace noisysgd::kernels
