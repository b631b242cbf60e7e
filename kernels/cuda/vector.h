// n neighbouring elements, loaded and stored in one access.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

template <class T, int n>
struct alignas(n * sizeof(T)) Vector {
  T values[n];
  __device__ T& operator[](int i) { return values[i]; }
  __device__ T operator[](int i) const { return values[i]; }
};
template <int n>
using FloatVector = Vector<float, n>;

// Whether the address is aligned for the largest accesses and copies, of 16 bytes; true for null.
inline bool aligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

// Whether the address is aligned for load_vector and store_vector; true for null.
template <int n, class T = float>
bool aligned_vector(const T* address) {
  return reinterpret_cast<uintptr_t>(address) % sizeof(Vector<T, n>) == 0;
}

template <int n, class T>
__device__ Vector<T, n> load_vector(const T* from) {
  return *reinterpret_cast<const Vector<T, n>*>(from);
}

template <class T, int n>
__device__ void store_vector(T* to, const Vector<T, n>& values) {
  *reinterpret_cast<Vector<T, n>*>(to) = values;
}

// The elements that a thread processes at a time (`vector`): four if every address is aligned to four floats, else one.
inline int vector_of(std::initializer_list<const float*> addresses) {
  return std::ranges::all_of(addresses, aligned_vector<4>) ? 4 : 1;
}

// The same for neighbouring channels of [rows,C]: four must also divide the channel count.
inline int vector_of(int64_t channels, std::initializer_list<const float*> addresses) {
  return channels % 4 == 0 ? vector_of(addresses) : 1;
}

// Calls body(std::integral_constant<int, vector>).
template <class Body>
void with_vector(int vector, const Body& body) {
  vector == 4 ? body(std::integral_constant<int, 4>{}) : body(std::integral_constant<int, 1>{});
}

}  // namespace noisysgd::kernels::cuda
