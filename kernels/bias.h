// The bias of [M,T,K] activations, T positions per sample (1 for a linear layer), optionally followed by a ReLU; its
// gradient and per-sample second moment. On a CUDA device activations may be stored in fp16 and their gradients in
// bf16.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// Applied to the product y of a layer: max(0, y + bias). NaN stays NaN.
struct BiasEpilogue {
  BiasEpilogue(const float* bias, bool relu = false) : bias(bias), relu(relu) {}
  const float* bias;  // [K]; null: none
  bool relu;          // false: without the maximum
};

NSGD_TYPED_OP(bias_add, void(Queue& queue, int64_t rows, int64_t channels, const BiasEpilogue& epilogue, Values y));

// grad_bias[k] += sum_{n,t} grad_y[n,t,k];  second_moment[k] += sum_n (sum_t grad_y[n,t,k])^2. Each may be null.
NSGD_TYPED_OP(bias_backward, void(Queue& queue, int64_t samples, int64_t positions, int64_t channels,
                                  ConstValues grad_y, float* grad_bias, float* second_moment));
// The same sums over grad_z, which this op writes in the same pass: grad_y where the ReLU's output is positive, 0
// elsewhere. grad_z may be grad_y.
NSGD_TYPED_OP(bias_relu_backward,
              void(Queue& queue, int64_t samples, int64_t positions, int64_t channels, ConstValues output,
                   ConstValues grad_y, Values grad_z, float* grad_bias, float* second_moment));
// Per-sample gradients: sums[n,k] = sum_t grad_y[n,t,k].
NSGD_TYPED_OP(bias_sample_gradients, void(Queue& queue, int64_t samples, int64_t positions, int64_t channels,
                                          ConstValues grad_y, float* sums));  // [M,K], overwritten

}  // namespace noisysgd::kernels
