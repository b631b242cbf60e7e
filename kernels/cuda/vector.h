// n neighbouring floats, loaded and stored in one access.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

template <int n>
struct alignas(n * sizeof(float)) FloatVector {
  float values[n];
  __device__ float& operator[](int i) { return values[i]; }
  __device__ float operator[](int i) const { return values[i]; }
};

// Whether the address is aligned for load_vector and store_vector; true for null.
template <int n>
bool aligned_vector(const float* address) {
  return reinterpret_cast<uintptr_t>(address) % sizeof(FloatVector<n>) == 0;
}

template <int n>
__device__ FloatVector<n> load_vector(const float* from) {
  return *reinterpret_cast<const FloatVector<n>*>(from);
}

template <int n>
__device__ void store_vector(float* to, const FloatVector<n>& values) {
  *reinterpret_cast<FloatVector<n>*>(to) = values;
}

}  // namespace noisysgd::kernels::cuda
