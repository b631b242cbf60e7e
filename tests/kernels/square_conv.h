// Convolutions with square filters of square images, padded so that stride 1 keeps the size.
#pragma once

#include <noisysgd/kernels/conv.h>

namespace noisysgd::test {

inline kernels::ConvShape square(int64_t batch, int64_t size, int64_t in, int64_t out, int64_t kernel = 3,
                                 int64_t stride = 1) {
  const int64_t padding = kernel / 2;
  return {batch, size, size, in, out, kernel, kernel, stride, stride, padding, padding};
}

}  // namespace noisysgd::test
