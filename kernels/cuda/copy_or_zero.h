// Asynchronous copies into shared memory, with zeros for elements outside an image or past the last sample.
#pragma once

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

inline constexpr int chunk = 4;  // floats of the largest asynchronous copy, which needs 16-byte alignment

// Starts the copy of 16 bytes of any elements, or with copy = false writes zeros; both addresses are multiples of 16
// bytes, and `from` is valid in either case.
__device__ inline void copy_16_bytes_or_zero(void* to, const void* from, bool copy) {
  __pipeline_memcpy_async(to, from, 16, copy ? 0 : 16);
}

// The same with 16, 8 or 4 bytes.
__device__ inline void copy_or_zero(void* to, const void* from, int bytes, bool copy) {
  if (bytes == 16)
    copy_16_bytes_or_zero(to, from, copy);
  else if (bytes == 8)
    __pipeline_memcpy_async(to, from, 8, copy ? 0 : 8);
  else
    __pipeline_memcpy_async(to, from, 4, copy ? 0 : 4);
}

}  // namespace noisysgd::kernels::cuda
