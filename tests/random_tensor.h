// Test data from Philox: the same on every machine, different for every `tensor`.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <noisysgd/kernels/philox.h>

namespace noisysgd::test {

// n uniform numbers in (offset - scale, offset + scale)
inline std::vector<float> random_tensor(int64_t n, uint32_t tensor, float offset = 0, float scale = 1) {
  const RandomStream stream{20240229, 0, tensor, RandomPurpose::test};
  std::vector<float> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i)
    values[i] = offset + scale * (2 * uniform_from_word(random_word(stream, static_cast<uint64_t>(i))) - 1);
  return values;
}

// n integers in [0, bound)
inline std::vector<int32_t> random_integers(int64_t n, uint32_t tensor, uint32_t bound) {
  const RandomStream stream{20240229, 1, tensor, RandomPurpose::test};
  std::vector<int32_t> values(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i)
    values[i] = static_cast<int32_t>(below_from_word(random_word(stream, static_cast<uint64_t>(i)), bound));
  return values;
}

// Rounded to multiples of 1/2: every format of operands represents them and their products exactly.
inline std::vector<float> halves(std::vector<float> values) {
  for (float& value : values) value = std::round(2 * value) / 2;
  return values;
}

// Old contents, which an overwriting op must replace completely.
inline std::vector<float> nan_tensor(int64_t n) {
  return std::vector<float>(static_cast<size_t>(n), std::numeric_limits<float>::quiet_NaN());
}

inline std::vector<double> to_double(const std::vector<float>& values) { return {values.begin(), values.end()}; }

}  // namespace noisysgd::test
