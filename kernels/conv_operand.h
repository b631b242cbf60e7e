// The input of a convolution that is made of other arrays (ConvOperand), as an array for kernels that read no other.
#pragma once

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels {

// h = relu(x factor + term), rounded to fp16 if x is stored in it. On a CUDA device x and h are both of fp32, x of fp16
// and h of fp32, or both of fp16. h must not overlap the other arrays. Throws Error for an operand without a factor.
NSGD_TYPED_OP(make_conv_operand, void(Queue& queue, const ConvShape& shape, const ConvOperand& operand,
                                      Values h));  // [N,H,W,C], overwritten

namespace cpu {

// The operand as an array of fp32: x itself, or a copy in `scratch`. Throws Error, with the op's name, for x of another
// type.
const float* conv_operand_array(Queue& queue, Scratch& scratch, const char* op, const ConvShape& shape,
                                const ConvOperand& operand);

}  // namespace cpu

}  // namespace noisysgd::kernels
