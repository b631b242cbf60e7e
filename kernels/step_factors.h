// Arithmetic on single numbers in the memory of the queue's device, so that the host need not wait for them: what the
// noise and the clipping of a step make of sums over its gradients.
#pragma once

#include <cstdint>
#include <span>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

struct ScalarTerm {
  double coefficient = 1;
  const double* first = nullptr;
  const double* second = nullptr;  // null: 1
};

// *total = factor (constant + sum_i coefficient_i first_i second_i)
NSGD_OP(weighted_total,
        void(Queue& queue, double factor, double constant, std::span<const ScalarTerm> terms, double* total));

// *variance = max(0, factor (*total / count)); NaN stays NaN, here and below.
NSGD_OP(mean_variance, void(Queue& queue, double factor, double count, const double* total, float* variance));

// What gives noise of covariance trace *trace the trace *wanted, and `scale` times that as its deviation: *variance
// multiplies its covariance, *vector the noise itself. Both are 0 where there is no noise.
NSGD_OP(match_factors,
        void(Queue& queue, double scale, const double* wanted, const double* trace, float* variance, float* vector));

// *factor = min(1, limit / norm) for the norm sqrt(*sum_of_squares) / samples.
NSGD_OP(clip_factor, void(Queue& queue, double samples, double limit, const double* sum_of_squares, double* factor));

}  // namespace noisysgd::kernels
