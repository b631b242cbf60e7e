// Arrays of 16-bit elements as fp32 in the workspace, for kernels that read fp32 alone.
#pragma once

#include <noisysgd/kernels/convert.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {

// The array itself if it is one of fp32, else an exact copy in `scratch`.
inline const float* widened(Queue& queue, Scratch& scratch, int64_t n, ConstValues values) {
  if (values.type == DType::f32) return static_cast<const float*>(values.address);
  float* const copy = scratch.take<float>(n);
  kernels::convert(queue, n, values, copy);
  return copy;
}

}  // namespace noisysgd::kernels::cuda
