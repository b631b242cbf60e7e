// Ops on a vector as a whole: its norm, and its moving average.
#pragma once

#include <cstdint>

#include "kernels/dispatch.h"

namespace noisysgd::kernels {

// sum_i x_i^2, in double precision. The same for every thread count.
NSGD_OP(sum_of_squares, double(Queue& queue, int64_t n, const float* x));

// average = decay average + (1-decay) x
NSGD_OP(moving_average, void(Queue& queue, int64_t n, float decay, const float* x, float* average));

}  // namespace noisysgd::kernels
