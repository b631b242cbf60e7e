// Asynchronous copies into shared memory, with zeros for elements outside an image or past the last sample.
#pragma once

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

inline constexpr int chunk = 4;  // floats of the largest asynchronous copy, which needs 16-byte alignment

// Starts the copy of `floats` values, or with copy = false writes zeros; `from` must be a valid address in either case.
template <int floats = chunk>
__device__ void copy_or_zero(float* to, const float* from, bool copy) {
  __pipeline_memcpy_async(to, from, floats * sizeof(float), copy ? 0 : floats * sizeof(float));
}

// The same with 16 bytes of any elements; both addresses are multiples of 16 bytes.
__device__ inline void copy_16_bytes_or_zero(void* to, const void* from, bool copy) {
  __pipeline_memcpy_async(to, from, 16, copy ? 0 : 16);
}

}  // namespace noisysgd::kernels::cuda
