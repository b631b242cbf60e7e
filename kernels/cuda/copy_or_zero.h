// Asynchronous copies into shared memory of what may lie outside an image or behind the last sample.
#pragma once

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

inline constexpr int chunk = 4;  // floats of the largest asynchronous copy; it begins at a multiple of 16 bytes

// Starts the copy of `floats` values; zeros if there is nothing to copy, where `from` must be an address all the same.
template <int floats = chunk>
__device__ void copy_or_zero(float* to, const float* from, bool copy) {
  __pipeline_memcpy_async(to, from, floats * sizeof(float), copy ? 0 : floats * sizeof(float));
}

}  // namespace noisysgd::kernels::cuda
