// Arithmetic on single numbers in the memory of the queue's device, so that the host need not wait for them: computes
// the factors for a step's noise and clipping from sums over its gradients.
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

// Factors that give noise of covariance trace *trace the trace scale^2 *wanted: *vector = scale sqrt(*wanted / *trace)
// multiplies the noise itself, *variance = its square the covariance. Both are 0 if *trace <= 0 (no noise).
NSGD_OP(match_factors,
        void(Queue& queue, double scale, const double* wanted, const double* trace, float* variance, float* vector));

// *factor = min(1, limit / norm) for the norm sqrt(*sum_of_squares) / samples.
NSGD_OP(clip_factor, void(Queue& queue, double samples, double limit, const double* sum_of_squares, double* factor));

}  // namespace noisysgd::kernels
