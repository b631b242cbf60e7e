// The one comparison of every numeric test: fp32 results against an fp64 reference.
// Order of checks: sizes; the same NaN and the same Inf in the same places; a reference that is not all zero (comparing
// with zero proves little); then the relative error in the Frobenius norm, and each element's error relative to the
// larger of its own size and the root mean square of the reference. Both bounds are 4 eps(fp32) sqrt(terms) condition.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>

namespace noisysgd::test {

struct Tolerance {
  double terms = 1;      // number of additions per element: rounding grows like its square root
  double condition = 1;  // how much the op amplifies rounding of its own input; the test says why it is not 1
};

// Exactly this bound, instead of one derived from the number of terms.
inline Tolerance within(double bound) { return {.condition = bound / (4 * std::numeric_limits<float>::epsilon())}; }

// In the Frobenius norm; NaN if the reference is all zero.
inline double relative_error(std::span<const float> actual, std::span<const double> reference) {
  double reference_squared = 0, error_squared = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    reference_squared += reference[i] * reference[i];
    error_squared += (actual[i] - reference[i]) * (actual[i] - reference[i]);
  }
  return std::sqrt(error_squared / reference_squared);
}

// Empty if they agree, otherwise what differs: use as CHECK(compare(...) == "").
inline std::string compare(std::span<const float> actual, std::span<const double> reference, Tolerance tolerance = {}) {
  if (actual.size() != reference.size())
    return fmt::format("{} elements, expected {}", actual.size(), reference.size());
  if (actual.empty()) return "";
  double reference_squared = 0, error_squared = 0;
  size_t finite = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double expected = reference[i], value = actual[i];
    if (std::isnan(expected) != std::isnan(value)) return fmt::format("[{}] is {}, expected {}", i, value, expected);
    if ((std::isinf(expected) || std::isinf(value)) && value != expected)
      return fmt::format("[{}] is {}, expected {}", i, value, expected);
    if (!std::isfinite(expected)) continue;
    ++finite;
    reference_squared += expected * expected;
    error_squared += (value - expected) * (value - expected);
  }
  if (finite == 0) return "";
  if (reference_squared == 0) return "the reference is zero everywhere: this comparison proves nothing";
  const double bound =
      4 * std::numeric_limits<float>::epsilon() * std::sqrt(std::fmax(1, tolerance.terms)) * tolerance.condition;
  const double relative = std::sqrt(error_squared / reference_squared);
  if (!(relative <= bound)) return fmt::format("relative error {:.3g} exceeds {:.3g}", relative, bound);
  const double root_mean_square = std::sqrt(reference_squared / static_cast<double>(finite));
  for (size_t i = 0; i < actual.size(); ++i) {
    if (!std::isfinite(reference[i])) continue;
    const double scale = std::fmax(std::fabs(reference[i]), root_mean_square);
    if (!(std::fabs(actual[i] - reference[i]) <= bound * scale))
      return fmt::format("[{}] is {:.9g}, expected {:.9g} within {:.3g}", i, actual[i], reference[i], bound * scale);
  }
  return "";
}

}  // namespace noisysgd::test
