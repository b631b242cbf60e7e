#include <noisysgd/kernels/patches.h>

#include <noisysgd/kernels/cuda/conv_geometry.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

// One element of a patch per thread: neighbouring threads read neighbouring channels.
__global__ void __launch_bounds__(block_threads)
    conv_patches_kernel(ConvGeometry g, bool homogeneous, const float* x, float* patches) {
  const int64_t positions = int64_t{g.out_height} * g.out_width;
  const int32_t taps = g.kernel_height * g.kernel_width * g.in_channels, columns = taps + (homogeneous ? 1 : 0);
  grid_stride(g.batch * positions * columns, [&](int64_t i) {
    const int64_t row = i / columns, n = row / positions;
    const auto column = static_cast<int32_t>(i % columns), t = static_cast<int32_t>(row % positions);
    if (column == taps) {
      patches[i] = 1.0f;
      return;
    }
    const int32_t tap = column / g.in_channels, channel = column % g.in_channels;
    const int32_t h = t / g.out_width * g.stride_height - g.padding_height + tap / g.kernel_width;
    const int32_t w = t % g.out_width * g.stride_width - g.padding_width + tap % g.kernel_width;
    const bool inside = h >= 0 && h < g.height && w >= 0 && w < g.width;
    patches[i] = inside ? x[((n * g.height + h) * g.width + w) * g.in_channels + channel] : 0.0f;
  });
}

}  // namespace

void conv_patches(Queue& queue, const ConvShape& shape, bool homogeneous, const float* x, float* patches) {
  const int64_t columns = shape.kernel_height * shape.kernel_width * shape.in_channels + (homogeneous ? 1 : 0);
  const int64_t n = shape.batch * shape.positions() * columns;
  if (n > 0)
    launch(queue, conv_patches_kernel, grid_size(n), block_threads, 0, ConvGeometry(shape), homogeneous, x, patches);
}

}  // namespace noisysgd::kernels::cuda
