// A study of storage in 16 bits: values between layers and their gradients are computed and stored in fp32, but take
// only values of a 16-bit type. NSGD_ROUND_STORED in the environment asks for it: "half" rounds values to fp16 and
// gradients to bf16, "bf16" both to bf16. Only arrays of images [N,H,W,C] are rounded; the images of the data set,
// vectors, logits, parameters and sums are not. A weight gradient, whose two operands have one type, also rounds its x
// to that of the gradients.
#pragma once

#include <optional>

#include <noisysgd/kernels/values.h>

namespace noisysgd {

struct Context;
class Tensor;

struct StoredRounding {
  // Empty: not rounded.
  std::optional<DType> values, gradients;

  static StoredRounding of_environment();  // throws Error for an unknown name
};

// Rounds the elements of an fp32 tensor of rank 4 to numbers of the type, and leaves other tensors as they are.
void round_stored(Context& context, const std::optional<DType>& type, const Tensor& tensor);

}  // namespace noisysgd
