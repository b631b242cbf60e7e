// The ops of the example layer, in this project's own namespace. Each has two twins: swish_op.cpp for the CPU and
// swish_op.cu for CUDA.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace swish_ops {

using noisysgd::kernels::Op;
using noisysgd::kernels::Queue;

// y = x s(b x), with the logistic function s. y may be x.
NSGD_OP(swish_forward, void(Queue& queue, int64_t n, const float* b, const float* x, float* y));

// grad_x = grad_y (s + b x s (1-s)). For each sample m, which has `features` elements, the gradient of b:
// grad_b[m] = sum grad_y x^2 s (1-s). Both are overwritten.
NSGD_OP(swish_backward, void(Queue& queue, int64_t samples, int64_t features, const float* b, const float* x,
                             const float* grad_y, float* grad_x, float* grad_b));

}  // namespace swish_ops
