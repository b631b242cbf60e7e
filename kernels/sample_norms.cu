#include <noisysgd/kernels/sample_norms.h>

#include <noisysgd/kernels/cuda/conv_geometry.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int channels_at_once = 8;

// A block's sum of x[i]^2, valid in thread 0.
__device__ double sum_of_squares(int64_t n, const float* x) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += block_threads) sum += static_cast<double>(x[i]) * x[i];
  return sum_block<block_threads>(sum);
}

// A block takes one sample at a time.
__global__ void __launch_bounds__(block_threads)
    sample_norms_kernel(int64_t samples, int64_t outputs, const float* y, int64_t inputs, const float* x,
                        float* norms) {
  for (int64_t n = blockIdx.x; n < samples; n += gridDim.x) {
    const double of_x = x ? sum_of_squares(inputs, x + n * inputs) : 1;
    const double of_y = sum_of_squares(outputs, y + n * outputs);
    if (threadIdx.x == 0) norms[n] += static_cast<float>(of_y * of_x);
  }
}

// Grid: blocks of weights, samples. A thread forms the gradient of one tap of `channels_at_once` filters: neighbouring
// threads read neighbouring elements of x, and all of a warp mostly the same of grad_y. partial [N,blocks].
__global__ void __launch_bounds__(block_threads)
    conv_sample_norms_kernel(ConvGeometry g, const float* x, const float* grad_y, double* partial) {
  const int64_t i = int64_t{blockIdx.x} * block_threads + threadIdx.x;
  const auto tap = static_cast<int32_t>(i % g.taps());
  const int64_t first = i / g.taps() * channels_at_once;
  const int32_t row = tap / g.in_channels / g.kernel_width - g.padding_height;
  const int32_t column = tap / g.in_channels % g.kernel_width - g.padding_width;
  const int count =
      static_cast<int>(first < g.out_channels ? min(int64_t{channels_at_once}, g.out_channels - first) : 0);
  for (int64_t n = blockIdx.y; n < g.batch; n += gridDim.y) {
    float gradient[channels_at_once] = {};
    for (int32_t t = 0; t < (count > 0 ? g.out_positions() : 0); ++t) {
      const int32_t h = t / g.out_width * g.stride_height + row, w = t % g.out_width * g.stride_width + column;
      if (h < 0 || h >= g.height || w < 0 || w >= g.width) continue;
      const float value = x[n * g.in_size() + (int64_t{h} * g.width + w) * g.in_channels + tap % g.in_channels];
      const float* const grad = grad_y + n * g.out_size() + int64_t{t} * g.out_channels + first;
#pragma unroll
      for (int k = 0; k < channels_at_once; ++k)
        if (k < count) gradient[k] += value * grad[k];
    }
    double squares = 0;
    for (const float value : gradient) squares += static_cast<double>(value) * value;
    squares = sum_block<block_threads>(squares);
    if (threadIdx.x == 0) partial[n * gridDim.x + blockIdx.x] = squares;
  }
}

__global__ void __launch_bounds__(block_threads)
    add_norm_parts_kernel(int64_t samples, int64_t blocks, const double* partial, float* norms) {
  grid_stride(samples, [&](int64_t n) {
    double sum = 0;
    for (int64_t b = 0; b < blocks; ++b) sum += partial[n * blocks + b];
    norms[n] += static_cast<float>(sum);
  });
}

}  // namespace

void sample_norms(Queue& queue, int64_t samples, int64_t outputs, const float* y, int64_t inputs, const float* x,
                  float* norms) {
  if (samples == 0) return;
  launch(queue, sample_norms_kernel, static_cast<unsigned>(std::min(samples, busy_blocks)), block_threads, 0, samples,
         outputs, y, inputs, x, norms);
}

void conv_sample_norms(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y, float* norms) {
  check(shape);
  if (shape.batch == 0) return;
  const ConvGeometry geometry(shape);
  const int64_t blocks =
      divide_up(geometry.taps() * divide_up(shape.out_channels, channels_at_once), block_threads);
  Scratch scratch(queue);
  double* const partial = scratch.take<double>(shape.batch * blocks);
  launch(queue, conv_sample_norms_kernel, dim3(static_cast<unsigned>(blocks), sample_grid(shape.batch, blocks)),
         block_threads, 0, geometry, x, grad_y, partial);
  launch(queue, add_norm_parts_kernel, grid_size(shape.batch), block_threads, 0, shape.batch, blocks, partial, norms);
}

}  // namespace noisysgd::kernels::cuda
