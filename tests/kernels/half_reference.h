// The 16-bit types by their definition, in fp64: what every pattern means, and the pattern nearest to a number.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <noisysgd/kernels/half.h>

namespace noisysgd::test {

template <class T>
inline constexpr int fraction_bits = std::is_same_v<T, kernels::Half> ? 10 : 7;
template <class T>
inline constexpr int exponent_bits = 15 - fraction_bits<T>;

// The number that the pattern stands for. beyond_largest: the first pattern of infinities continues the numbers.
template <class T>
double number_of(uint32_t bits, bool beyond_largest = false) {
  constexpr int bias = (1 << (exponent_bits<T> - 1)) - 1, fraction = 1 << fraction_bits<T>;
  const int exponent = static_cast<int>(bits & 0x7fffu) / fraction, m = static_cast<int>(bits & 0x7fffu) % fraction;
  double size = exponent == 0 ? std::ldexp(m, 1 - bias - fraction_bits<T>)
                              : std::ldexp(fraction + m, exponent - bias - fraction_bits<T>);
  if (exponent == 2 * bias + 1 && !beyond_largest)
    size = m == 0 ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  return bits & 0x8000u ? -size : size;
}

// Nearest, ties to the even pattern; as if numbers went on beyond the largest, which are infinite.
template <class T>
uint16_t nearest_pattern(float value) {
  if (std::isnan(value)) return 0x7fff;
  constexpr uint32_t infinite = ((1u << exponent_bits<T>)-1) << fraction_bits<T>;
  const double size = std::abs(static_cast<double>(value));
  uint32_t low = 0, high = infinite;  // number(low) <= size, and number(high) is above or infinite
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (number_of<T>(middle) <= size ? low : high) = middle;
  }
  const double below = size - number_of<T>(low), above = number_of<T>(high, true) - size;
  const uint32_t pattern = below < above || (below == above && low % 2 == 0) ? low : high;
  return static_cast<uint16_t>(pattern | (std::signbit(value) ? 0x8000u : 0u));
}

}  // namespace noisysgd::test
