// Elements in the types in which values are stored, as floats in registers, one at a time and as vectors of one access.
#pragma once

#include <type_traits>

#include <noisysgd/kernels/cuda/ptx.h>
#include <noisysgd/kernels/cuda/vector.h>
#include <noisysgd/kernels/half.h>

namespace noisysgd::kernels::cuda {

__device__ inline float as_float(float value) { return value; }
__device__ inline float as_float(Half value) { return ptx::widen_f16(value.bits); }
__device__ inline float as_float(BFloat16 value) { return __uint_as_float(uint32_t{value.bits} << 16); }

template <class T>
__device__ T as_stored(float value) {
  if constexpr (std::is_same_v<T, float>)
    return value;
  else if constexpr (std::is_same_v<T, Half>)
    return {static_cast<uint16_t>(ptx::round_to_f16x2(value, 0) & 0xffffu)};
  else
    return {static_cast<uint16_t>(ptx::round_to_bf16x2(value, 0) & 0xffffu)};
}

// Whether the address is aligned for vectors of n elements; true for null.
template <int n, class T>
bool aligned_elements(const T* address) {
  return reinterpret_cast<uintptr_t>(address) % (n * sizeof(T)) == 0;
}

// n neighbouring 16-bit elements in registers of two.
template <int n>
struct alignas(2 * n) PackedPairs {
  uint32_t pairs[n / 2];
};

// n: even for 16-bit elements. The access has n elements, so that of 8 halves is one of 16 bytes.
template <int n, class T>
__device__ FloatVector<n> load_elements(const T* from) {
  if constexpr (std::is_same_v<T, float>) {
    return load_vector<n>(from);
  } else {
    const auto packed = *reinterpret_cast<const PackedPairs<n>*>(from);
    FloatVector<n> values;
    for (int i = 0; i < n; ++i) {
      const auto bits = static_cast<uint16_t>(packed.pairs[i / 2] >> (16 * (i % 2)));
      values[i] = as_float(T{bits});
    }
    return values;
  }
}

template <int n, class T>
__device__ void store_elements(T* to, const FloatVector<n>& values) {
  if constexpr (std::is_same_v<T, float>) {
    store_vector(to, values);
  } else {
    PackedPairs<n> packed;
    for (int i = 0; i < n / 2; ++i)
      packed.pairs[i] = std::is_same_v<T, Half> ? ptx::round_to_f16x2(values[2 * i], values[2 * i + 1])
                                                : ptx::round_to_bf16x2(values[2 * i], values[2 * i + 1]);
    *reinterpret_cast<PackedPairs<n>*>(to) = packed;
  }
}

}  // namespace noisysgd::kernels::cuda
