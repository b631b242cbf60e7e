// Elements in the types in which values are stored, as floats in registers: one at a time, and as vectors of one
// access.
#pragma once

#include <algorithm>
#include <type_traits>

#include <noisysgd/kernels/cuda/ptx.h>
#include <noisysgd/kernels/cuda/vector.h>
#include <noisysgd/kernels/half.h>

namespace noisysgd::kernels::cuda {

__device__ inline float as_float(float value) { return value; }
__device__ inline float as_float(Half value) { return ptx::widen_f16(value.bits); }
__device__ inline float as_float(BFloat16 value) { return __uint_as_float(uint32_t{value.bits} << 16); }

// Two numbers rounded to a 16-bit type, with `low` in the low half.
template <class T>
__device__ uint32_t round_pair(float low, float high) {
  return std::is_same_v<T, Half> ? ptx::round_to_f16x2(low, high) : ptx::round_to_bf16x2(low, high);
}

template <class T>
__device__ T as_stored(float value) {
  if constexpr (std::is_same_v<T, float>)
    return value;
  else
    return {static_cast<uint16_t>(round_pair<T>(value, 0) & 0xffffu)};
}

// n neighbouring elements as they are stored, n a power of two: registers hold two of 16 bits, which are widened when
// they are read. An access of vector_width<T> elements has 16 bytes.
template <class T, int n>
struct alignas(n * sizeof(T)) Elements {
  static constexpr bool pairs = sizeof(T) == 2 && n > 1;
  std::conditional_t<pairs, uint32_t, T> stored[pairs ? n / 2 : n];

  __device__ float operator[](int i) const {
    if constexpr (pairs)
      return as_float(T{static_cast<uint16_t>(stored[i / 2] >> (16 * (i % 2)))});
    else
      return as_float(stored[i]);
  }
  __device__ operator FloatVector<n>() const {
    FloatVector<n> values;
    for (int i = 0; i < n; ++i) values[i] = (*this)[i];
    return values;
  }
};
template <class T>
inline constexpr int vector_width = 16 / sizeof(T);

template <int n, class T>
__device__ Elements<T, n> load_elements(const T* from) {
  return *reinterpret_cast<const Elements<T, n>*>(from);
}

// Rounds the values to the type of `to`.
template <class T, int n>
__device__ void store_elements(T* to, const FloatVector<n>& values) {
  Elements<T, n> elements;
  if constexpr (Elements<T, n>::pairs)
    for (int i = 0; i < n / 2; ++i) elements.stored[i] = round_pair<T>(values[2 * i], values[2 * i + 1]);
  else
    for (int i = 0; i < n; ++i) elements.stored[i] = as_stored<T>(values[i]);
  *reinterpret_cast<Elements<T, n>*>(to) = elements;
}

// The same for any number of values, a power of two, by accesses of at most 16 bytes, to which addresses are aligned.
template <int n, class T>
__device__ FloatVector<n> load_values(const T* from) {
  constexpr int part = std::min(n, vector_width<T>);
  FloatVector<n> values;
#pragma unroll
  for (int first = 0; first < n; first += part) {
    const auto elements = load_elements<part>(from + first);
#pragma unroll
    for (int i = 0; i < part; ++i) values[first + i] = elements[i];
  }
  return values;
}
template <class T, int n>
__device__ void store_values(T* to, const FloatVector<n>& values) {
  constexpr int part = std::min(n, vector_width<T>);
#pragma unroll
  for (int first = 0; first < n; first += part) {
    FloatVector<part> of_access;
#pragma unroll
    for (int i = 0; i < part; ++i) of_access[i] = values[first + i];
    store_elements(to + first, of_access);
  }
}

// Whether every address is aligned for vectors of `width` elements of its type; true for null.
template <int width, class... T>
bool aligned_elements(const T*... addresses) {
  return (... && (reinterpret_cast<uintptr_t>(addresses) % (width * sizeof(T)) == 0));
}

// Calls body(std::integral_constant<int, n>) for n = `width` elements at a time if that is possible, else for 1.
template <int width, class Body>
void with_width(bool possible, const Body& body) {
  if (possible) return body(std::integral_constant<int, width>{});
  body(std::integral_constant<int, 1>{});
}

}  // namespace noisysgd::kernels::cuda
