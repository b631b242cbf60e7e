// 2-D convolution (cross-correlation), NHWC activations, KRSC filters.
#pragma once

#include <compare>
#include <cstdint>

#include <noisysgd/kernels/bias.h>
#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

struct ConvShape {
  int64_t batch, height, width, in_channels;          // x [N,H,W,C]
  int64_t out_channels, kernel_height, kernel_width;  // w [K,R,S,C]
  int64_t stride_height, stride_width, padding_height, padding_width;

  int64_t out_height() const { return (height + 2 * padding_height - kernel_height) / stride_height + 1; }
  int64_t out_width() const { return (width + 2 * padding_width - kernel_width) / stride_width + 1; }
  int64_t positions() const { return out_height() * out_width(); }
  int64_t weights() const { return out_channels * kernel_height * kernel_width * in_channels; }
  auto operator<=>(const ConvShape&) const = default;
};

void check(const ConvShape& shape);  // throws Error for an impossible shape

// On a CUDA device x and y may be stored in fp16, their gradients in bf16; the operands of a product are then rounded
// to the type of its result (conv_forward, conv_backward_data) or to bf16 (weight gradients).
NSGD_TYPED_OP(conv_forward, void(Queue& queue, const ConvShape& shape, ConstValues x, const float* weight,
                                 const BiasEpilogue& epilogue, Values y));  // [N,Ho,Wo,K], overwritten
NSGD_TYPED_OP(conv_backward_data, void(Queue& queue, const ConvShape& shape, const float* weight, ConstValues grad_y,
                                       Values grad_x));  // [N,H,W,C], overwritten
NSGD_TYPED_OP(conv_backward_weight, void(Queue& queue, const ConvShape& shape, ConstValues x, ConstValues grad_y,
                                         float* grad_weight));  // [K,R,S,C], accumulated
// The same gradient, always by cuDNN; conv_backward_weight may choose another kernel. Returns false, having done
// nothing, if cuDNN is missing or has no plan for the shape; on the CPU it always returns false.
NSGD_OP(conv_backward_weight_cudnn, bool(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y,
                                         float* grad_weight));  // [K,R,S,C], accumulated

}  // namespace noisysgd::kernels
