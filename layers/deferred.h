// A value that has not been written: max(0, gamma xhat + beta + addend), the output of a batch normalisation. The
// convolution that reads it first computes it on the way, from x and constants, and writes it only if others need it.
// In backward that convolution also does the first part of the batch normalisation's work (kernels/conv_block.h).
#pragma once

#include <noisysgd/core/autograd.h>
#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/conv.h>

namespace noisysgd {

struct Deferred {
  kernels::BatchNormShape shape;
  Tensor x, mean, inverse_std;    // the input of the batch normalisation [M,T,C], and its statistics [groups,C]
  Tensor factor, term;            // [groups,C]: gamma xhat + beta = x factor + term
  const Parameter &gamma, &beta;  // [C]
  bool relu;                      // false: the value is written at once
  bool is_sum;                    // there is an addend
  Tensor addend;                  // [M,T,C], held until the value is written; or undefined
  bool read = false;              // an op reads the value, or a convolution x instead of it
  bool wanted = false;            // others read the value too, so the convolution had better write it
  Tensor value = {};              // undefined: not written
  // From the backward pass of the first reader to that of the batch normalisation: the sums of the gradient, which then
  // is that of the ReLU's input (BatchNormGradientSums). Undefined: it is the gradient of the value.
  Tensor gradient_sums = {};

  void write(Context& context);  // if it is not written
};

// What a convolution reads for the value, without writing it if a map of x alone gives it.
kernels::ConvOperand operand_of(Context& context, const Variable& variable);

// The variable with its value, which is written if it was deferred.
Variable written(Context& context, Variable variable);

}  // namespace noisysgd
