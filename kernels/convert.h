// Conversion between the types in which values are stored.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// y = x. One of the two is stored in fp32, the other in fp16 or bf16; or x in fp16 and y in bf16. Numbers are rounded as
// half.h says. Throws Error for other types. The arrays must not overlap.
NSGD_OP(convert, void(Queue& queue, int64_t n, ConstValues x, Values y));

void check_conversion(DType from, DType to);  // throws Error for types that convert does not take

}  // namespace noisysgd::kernels
