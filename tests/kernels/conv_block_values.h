// Arrays of 16-bit values for the tests of conv_block, and the comparison of what an op has stored with fp64.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include <noisysgd/kernels/conv_block.h>
#include <noisysgd/kernels/half.h>
#include "tests/kernels/mirrored.h"

namespace noisysgd::test {

inline kernels::ConvBlockShape square(int64_t batch, int64_t group, int64_t size, int64_t channels) {
  return {{batch, size, size, channels, channels, 3, 3, 1, 1, 1, 1}, group};
}

// Every tiling with one item, with several items in a row for each of the emulated device's blocks, and with 8x8 images
// whose groups end with half of a pair.
inline const std::vector<kernels::ConvBlockShape> conv_block_shapes{
    square(1, 1, 32, 16), square(18, 3, 32, 16), square(1, 1, 16, 32), square(14, 7, 16, 32),
    square(1, 1, 8, 64),  square(2, 2, 8, 64),   square(25, 5, 8, 64)};

// The index in [groups,C] of the constants of element i.
inline size_t constant_of(const kernels::ConvBlockShape& s, size_t i) {
  const auto channels = static_cast<size_t>(s.conv.in_channels);
  return i / static_cast<size_t>(s.elements() / s.groups()) * channels + i % channels;
}

inline std::vector<float> constants(const kernels::ConvBlockShape& s, uint32_t tensor, float offset, float scale) {
  return random_tensor(s.groups() * s.conv.in_channels, tensor, offset, scale);
}

inline std::vector<float> weights(const kernels::ConvBlockShape& s) {
  return random_tensor(s.conv.weights(), 5, 0.02f, 0.2f);
}

inline std::vector<double> sizes(std::vector<double> values) {
  for (double& value : values) value = std::fabs(value);
  return values;
}

template <class T>
inline constexpr DType stored_type = std::is_same_v<T, kernels::Half> ? DType::f16 : DType::bf16;

template <class T>
std::vector<T> stored(const std::vector<float>& values) {
  std::vector<T> result;
  for (const float value : values) result.push_back(kernels::rounded<T>(value));
  return result;
}

template <class T>
std::vector<double> doubles(const std::vector<T>& values) {
  std::vector<double> result;
  for (const T value : values) result.push_back(kernels::widened(value));
  return result;
}

template <class T>
std::vector<T> nans(int64_t n) {
  return stored<T>(nan_tensor(n));
}

template <class T>
bool all_nan(const std::vector<T>& values) {
  return std::ranges::all_of(values, [](T value) { return std::isnan(kernels::widened(value)); });
}

// An array on both devices, as an op's argument.
template <class T>
struct StoredArray : Mirrored<T> {
  using Mirrored<T>::Mirrored;
  kernels::Values values(const kernels::Queue& queue) { return {this->on(queue), stored_type<T>}; }
  std::vector<T> result(const kernels::Queue& queue) const {
    return queue.device().backend == Backend::cpu ? this->on_cpu() : this->on_cuda();
  }
};

// Empty if each value is the reference rounded to T, after an error of a sum in fp32. magnitudes: the sums of the sizes
// of their terms. The products are added up in steps of 16, at most 36 of them, each of which may lose a unit in the
// last place of the largest term.
template <class T>
std::string compare_stored(const std::vector<T>& actual, const std::vector<double>& reference,
                           const std::vector<double>& magnitudes) {
  constexpr bool fp16 = std::is_same_v<T, kernels::Half>;
  constexpr double rounding = fp16 ? 0x1p-11 : 0x1p-8, least = fp16 ? 0x1p-25 : 0, sum_rounding = 36 * 0x1p-23;
  double squares = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double sum_error = sum_rounding * magnitudes[i];
    const double bound = rounding * (std::fabs(reference[i]) + sum_error) + sum_error + least;
    const double value = kernels::widened(actual[i]);
    if (std::isnan(reference[i]) ? !std::isnan(value) : !(std::fabs(value - reference[i]) <= bound))
      return fmt::format("[{}] is {}, expected {} within {}", i, value, reference[i], bound);
    if (!std::isnan(reference[i])) squares += reference[i] * reference[i];
  }
  if (squares == 0) return "the reference is zero everywhere: this comparison proves nothing";
  return actual.size() == reference.size() ? "" : "another number of elements";
}

}  // namespace noisysgd::test
