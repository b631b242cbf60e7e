#include <noisysgd/kernels/step_factors.h>

#include <cmath>

namespace noisysgd::kernels::cpu {

void weighted_total(Queue&, double factor, double constant, std::span<const ScalarTerm> terms, double* total) {
  double sum = constant;
  for (const ScalarTerm& term : terms)
    sum += term.coefficient * (term.second ? *term.first * *term.second : *term.first);
  *total = factor * sum;
}

void mean_variance(Queue&, double factor, double count, const double* total, float* variance) {
  const double value = factor * (*total / count);
  *variance = value < 0 ? 0.0f : static_cast<float>(value);  // NaN stays NaN
}

void match_factors(Queue&, double scale, const double* wanted, const double* trace, float* variance, float* vector) {
  const double factor = scale * (*trace <= 0 ? 0 : std::sqrt(*wanted / *trace));
  *variance = static_cast<float>(factor * factor);
  *vector = static_cast<float>(factor);
}

void clip_factor(Queue&, double samples, double limit, const double* sum_of_squares, double* factor) {
  const double norm = std::sqrt(*sum_of_squares) / samples;
  *factor = norm > limit ? limit / norm : 1;
}

}  // namespace noisysgd::kernels::cpu
