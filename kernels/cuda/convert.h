// Conversion between fp32 and bf16, the upper half of an fp32.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels::cuda {

// Rounds to the nearest bf16, ties to even; infinities stay infinities and NaN stays NaN.
void fp32_to_bf16(Queue& queue, int64_t n, const float* x, uint16_t* y);
void bf16_to_fp32(Queue& queue, int64_t n, const uint16_t* x, float* y);

}  // namespace noisysgd::kernels::cuda
