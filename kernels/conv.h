// 2-D convolution (cross-correlation), NHWC activations, KRSC filters.
#pragma once

#include <compare>
#include <cstdint>
#include <type_traits>

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

// The input of a convolution: x itself, or relu(x factor + term) with the constants of a ghost group, `group`
// consecutive samples. NaN stays NaN. Of x in fp16 the values are rounded to fp16, as conv_block_forward stores them.
// Positions outside the image are 0 in either case.
struct ConvOperand {
  ConstValues x;                                   // [N,H,W,C]
  const float *factor = nullptr, *term = nullptr;  // [N/group,C]; both null: x itself
  int64_t group = 0;                               // divides the batch; of x itself it means nothing

  ConvOperand() = default;
  template <class Array>
  requires(std::is_convertible_v<Array, ConstValues>) ConvOperand(Array array) : x(array) {}
  ConvOperand(ConstValues array, const float* factors, const float* terms, int64_t group_samples)
      : x(array), factor(factors), term(terms), group(group_samples) {}

  // The address of x, for an op that takes neither other types than fp32 nor constants, which it would ignore. Throws
  // Error with the op's name.
  const float* f32(const char* op) const {
    NSGD_CHECK(!factor, "{} takes an array, not the operands of relu(x factor + term)", op);
    return x.f32(op);
  }
};

// Throws Error for an impossible shape, or constants that do not fit together or to the shape.
void check(const ConvShape& shape, const ConvOperand& operand);

// On a CUDA device x and y may be stored in fp16, their gradients in bf16; the operands of a product are then rounded
// to the type of its result (conv_forward, conv_backward_data) or to bf16 (weight gradients). x of a weight gradient
// may be made of other arrays; the window kernel (docs/cuda.md) makes it on the way, the others read a copy in the
// workspace.
NSGD_TYPED_OP(conv_forward, void(Queue& queue, const ConvShape& shape, ConstValues x, const float* weight,
                                 const BiasEpilogue& epilogue, Values y));  // [N,Ho,Wo,K], overwritten
NSGD_TYPED_OP(conv_backward_data, void(Queue& queue, const ConvShape& shape, const float* weight, ConstValues grad_y,
                                       Values grad_x));  // [N,H,W,C], overwritten
NSGD_TYPED_OP(conv_backward_weight, void(Queue& queue, const ConvShape& shape, const ConvOperand& x, ConstValues grad_y,
                                         float* grad_weight));  // [K,R,S,C], accumulated
// The same gradient, always by cuDNN; conv_backward_weight may choose another kernel. Returns false, having done
// nothing, if cuDNN is missing or has no plan for the shape; on the CPU it always returns false.
NSGD_OP(conv_backward_weight_cudnn, bool(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y,
                                         float* grad_weight));  // [K,R,S,C], accumulated

}  // namespace noisysgd::kernels
