// The product of a tall matrix with itself, used for Kronecker factors.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// gram[i,j] += sum_r x[r,i] x[r,j]
NSGD_OP(gram, void(Queue& queue, int64_t rows, int64_t columns, const float* x,  // [rows,columns]
                   float* gram));                                                // [columns,columns], accumulated

}  // namespace noisysgd::kernels
