// Sums over the lanes of a warp and over groups of lanes, in a fixed order. Every lane of the warp must call.
#pragma once

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

inline constexpr unsigned full_mask = 0xffffffffu;
inline constexpr int warp_lanes = 32;

// Sum over the lanes whose indices agree modulo `group` (a power of two, at most 32); every lane gets its sum.
template <class T>
__device__ T sum_lanes(T value, int group = 1) {
  for (int distance = warp_lanes / 2; distance >= group; distance /= 2)
    value += __shfl_xor_sync(full_mask, value, distance);
  return value;
}

// Sum over a block of `threads` threads, valid in thread 0. Ends with a barrier, so it may be called again immediately.
template <int threads, class T>
__device__ T sum_block(T value) {
  GPU_SHARED(T, warp_sums, [threads / warp_lanes]);
  const int warp = static_cast<int>(threadIdx.x) / warp_lanes, lane = static_cast<int>(threadIdx.x) % warp_lanes;
  value = sum_lanes(value);
  if (lane == 0) warp_sums[warp] = value;
  __syncthreads();
  T total{};
  if (threadIdx.x == 0)
    for (int i = 0; i < threads / warp_lanes; ++i) total += warp_sums[i];
  __syncthreads();
  return total;
}

}  // namespace noisysgd::kernels::cuda
