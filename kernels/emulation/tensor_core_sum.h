// The rounding of tensor cores' sums.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include <noisysgd/kernels/emulation/rounding.h>

namespace noisysgd::emulation {

// start + the sum of left[k] right[k] as tensor cores form it (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of
// NVIDIA tensor cores, 2021). Products are exact. All terms are truncated towards zero to two bits below the last place
// of the largest, and their sum is truncated to 24 bits. Unlike rounding, this biases a long chain of such sums towards
// zero. With two bits, and all of the depth in one sum, a chain of 384 sums in conv_window agreed with an H100 in all
// nine known digits.
template <int depth>
float tensor_core_sum(float start, const float (&left)[depth], const float (&right)[depth]) {
  constexpr int fraction_bits = fp32_fraction + 2;
  const auto exponent = [](double x) { return static_cast<int>(std::bit_cast<uint64_t>(x) >> 52 & 0x7ff) - 1023; };
  double terms[depth + 1] = {start};
  for (int k = 0; k < depth; ++k) terms[k + 1] = static_cast<double>(left[k]) * static_cast<double>(right[k]);
  int largest = -1023;  // the exponent of zero
  for (const double term : terms) largest = std::max(largest, exponent(term));
  if (largest == -1023) return start;
  if (largest > 128) {  // infinite, NaN, or beyond fp32
    double sum = 0;
    for (const double term : terms) sum += term;
    return static_cast<float>(sum);
  }
  const auto power = [](int e) { return std::bit_cast<double>(static_cast<uint64_t>(e + 1023) << 52); };
  const double scale = power(fraction_bits - largest);
  int64_t sum = 0;
  for (const double term : terms) sum += static_cast<int64_t>(term * scale);
  const auto size = static_cast<uint64_t>(sum < 0 ? -sum : sum);
  const int beyond = std::max(0, static_cast<int>(std::bit_width(size)) - (fp32_fraction + 1));
  const auto kept = static_cast<double>(size >> beyond << beyond);
  return static_cast<float>((sum < 0 ? -kept : kept) * power(largest - fraction_bits));
}

}  // namespace noisysgd::emulation
