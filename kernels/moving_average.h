// The exponential moving average of a vector.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// average = decay average + (1-decay) x
NSGD_OP(moving_average, void(Queue& queue, int64_t n, float decay, const float* x, float* average));

}  // namespace noisysgd::kernels
