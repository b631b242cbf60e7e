// Sums over a tensor, in double precision and in a fixed order.
#pragma once

#include <cstdint>

#include "kernels/dispatch.h"

namespace noisysgd::kernels {

struct TensorSums {
  double sum = 0;
  double sum_of_squares = 0;
};

NSGD_OP(tensor_sums, void(Queue& queue, int64_t n, const float* x, TensorSums* sums));  // accumulated

}  // namespace noisysgd::kernels
