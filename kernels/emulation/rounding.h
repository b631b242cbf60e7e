// Rounds operands to less precision than fp32, as tensor cores and libraries do.
#pragma once

#include <bit>
#include <cstdint>

namespace noisysgd::emulation {

inline constexpr int fp32_fraction = 23, tf32_fraction = 10, bf16_fraction = 7;  // bits

// The nearest number with fraction_bits bits of fraction, ties to even; infinities and NaN are unchanged.
inline float round_to_fraction(float value, int fraction_bits) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (fraction_bits >= fp32_fraction || (bits & 0x7f800000u) == 0x7f800000u) return value;
  const int dropped = fp32_fraction - fraction_bits;
  const uint32_t half = (1u << (dropped - 1)) - 1 + (bits >> dropped & 1u);
  return std::bit_cast<float>((bits + half) & ~((1u << dropped) - 1));
}

}  // namespace noisysgd::emulation
