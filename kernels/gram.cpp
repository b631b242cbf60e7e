#include <noisysgd/kernels/gram.h>

#include <algorithm>

#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/gemm.h>

namespace noisysgd::kernels::cpu {

void gram(Queue& queue, int64_t rows, int64_t columns, const float* x, float* gram) {
  if (rows == 0 || columns == 0) return;
  // The library's products are slow for results this small. The gram matrix is also the weight gradient of a 1x1
  // convolution, and the register tiles of that kernel hold such a result.
  constexpr int64_t small = 128;
  if (columns > small)
    return cpu::gemm(queue, Transpose::yes, Transpose::no, columns, columns, rows, 1.0f, x, x, 1.0f, gram);
  constexpr int64_t length = 256;  // rows of an image
  const auto add = [&](int64_t first, int64_t images, int64_t width) {
    const ConvShape shape{images, 1, width, columns, columns, 1, 1, 1, 1, 0, 0};
    if (images > 0 && width > 0)
      cpu::conv_sample_sums(queue, shape, x + first * columns, x + first * columns, {}, gram);
  };
  add(0, rows / length, length);
  add(rows / length * length, 1, rows % length);
}

}  // namespace noisysgd::kernels::cpu
