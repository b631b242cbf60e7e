// Bias gradient of [M,T,K] activations, T positions per sample (1 for a linear layer), and its per-sample second
// moment.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// y[m,t,k] += bias[k]
NSGD_OP(bias_add, void(Queue& queue, int64_t rows, int64_t channels, const float* bias, float* y));

// grad_bias[k] += sum_{n,t} grad_y[n,t,k];  second_moment[k] += sum_n (sum_t grad_y[n,t,k])^2. Each may be null: not
// wanted.
NSGD_OP(bias_backward, void(Queue& queue, int64_t samples, int64_t positions, int64_t channels, const float* grad_y,
                            float* grad_bias, float* second_moment));
// sums[n,k] = sum_t grad_y[n,t,k]: the gradients of the single samples.
NSGD_OP(bias_sample_gradients, void(Queue& queue, int64_t samples, int64_t positions, int64_t channels,
                                    const float* grad_y, float* sums));  // [M,K], overwritten

}  // namespace noisysgd::kernels
