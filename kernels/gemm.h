// Dense row-major matrix products (CPU: oneDNN on x86-64, else OpenBLAS; CUDA: cuBLAS), and the product of squares for
// the diag(F) of a linear layer.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

enum class Transpose { no, yes };

// C = alpha op(A) op(B) + beta C;  op(A) [m,k], op(B) [k,n], C [m,n], all dense row-major.
NSGD_OP(gemm, void(Queue& queue, Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k,
                   float alpha, const float* a, const float* b, float beta, float* c));

// second_moment[i,j] += sum_n grad_y[n,i]^2 x[n,j]^2: the sum of squared per-sample gradients of y = x W^T, exact.
// Squares are formed in blocks of samples, so the extra memory does not depend on M.
NSGD_OP(linear_second_moment, void(Queue& queue, int64_t samples, int64_t outputs, int64_t inputs,
                                   const float* x,          // [M,inputs]
                                   const float* grad_y,     // [M,outputs]
                                   float* second_moment));  // [outputs,inputs], accumulated

}  // namespace noisysgd::kernels
