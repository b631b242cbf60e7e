// Sums over tensors, in double precision and in a fixed order.
#pragma once

#include <cstdint>
#include <span>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

struct SummedTensor {
  int64_t n = 0;
  const float* x = nullptr;  // [n]
  int32_t target = 0;        // index of the sums that x adds to; must not decrease from tensor to tensor
};

// sums[2 target] = sum of x and sums[2 target + 1] = sum of x^2 over the tensors of each target < targets.
NSGD_OP(tensor_sums, void(Queue& queue, std::span<const SummedTensor> tensors, int32_t targets,
                          double* sums));  // [targets,2] on the queue's device, overwritten

}  // namespace noisysgd::kernels
