#include <noisysgd/kernels/patches.h>

#include <algorithm>

#include <noisysgd/kernels/parallel.h>

namespace noisysgd::kernels::cpu {

void conv_patches(Queue& queue, const ConvShape& shape, bool homogeneous, const float* x, float* patches) {
  const int64_t channels = shape.in_channels, out_width = shape.out_width();
  const int64_t columns = shape.kernel_height * shape.kernel_width * channels + (homogeneous ? 1 : 0);
  const int64_t rows = shape.batch * shape.positions();
  parallel_ranges(queue, rows, std::max<int64_t>(1, 16384 / columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / shape.positions(), t = row % shape.positions();
      const int64_t top = t / out_width * shape.stride_height - shape.padding_height;
      const int64_t left = t % out_width * shape.stride_width - shape.padding_width;
      float* out = patches + row * columns;
      for (int64_t r = 0; r < shape.kernel_height; ++r)
        for (int64_t s = 0; s < shape.kernel_width; ++s, out += channels) {
          const int64_t h = top + r, w = left + s;
          if (h < 0 || h >= shape.height || w < 0 || w >= shape.width)
            std::fill_n(out, channels, 0.0f);
          else
            std::copy_n(x + ((n * shape.height + h) * shape.width + w) * channels, channels, out);
        }
      if (homogeneous) *out = 1.0f;
    }
  });
}

}  // namespace noisysgd::kernels::cpu
