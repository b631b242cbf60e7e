// diag(F) of a batch from its sums, and its running average.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// average[i] = decay average[i] + (1-decay) max(0, cQ Q_i + cS S_i^2). With decay 0, average is overwritten and may be
// uninitialised.
NSGD_OP(fisher_average, void(Queue& queue, int64_t n, float second_moment_coefficient, float gradient_coefficient,
                             float decay, const float* second_moment, const float* gradient_sum, float* average));

}  // namespace noisysgd::kernels
