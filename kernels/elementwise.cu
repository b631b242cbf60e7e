#include <noisysgd/kernels/elementwise.h>

#include <noisysgd/kernels/cuda/arithmetic.h>
#include <noisysgd/kernels/cuda/fast_divide.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

__global__ void __launch_bounds__(block_threads) fill_kernel(int64_t n, float value, float* x) {
  grid_stride(n, [&](int64_t i) { x[i] = value; });
}

__global__ void __launch_bounds__(block_threads) relu_forward_kernel(int64_t n, const float* x, float* y) {
  grid_stride(n, [&](int64_t i) { y[i] = x[i] < 0 ? 0.0f : x[i]; });  // NaN stays NaN
}

__global__ void __launch_bounds__(block_threads)
    relu_backward_kernel(int64_t n, const float* y, const float* grad_y, float* grad_x) {
  grid_stride(n, [&](int64_t i) { grad_x[i] = y[i] > 0 ? grad_y[i] : 0.0f; });
}

__global__ void __launch_bounds__(block_threads) add_kernel(int64_t n, const float* x, float* y) {
  grid_stride(n, [&](int64_t i) { y[i] += x[i]; });
}

__global__ void __launch_bounds__(block_threads) add_square_kernel(int64_t n, const float* x, float* y) {
  grid_stride(n, [&](int64_t i) { y[i] = multiply_then_add(x[i], x[i], y[i]); });
}

__global__ void __launch_bounds__(block_threads)
    scale_kernel(int64_t n, Number<float> given, const float* x, float* y) {
  const float factor = given.read();
  grid_stride(n, [&](int64_t i) { y[i] = factor * x[i]; });
}

// A thread handles the elements of one Philox block; part of the first and the last block may lie outside the array.
__global__ void __launch_bounds__(block_threads)
    dropout_kernel(int64_t n, float probability, float scale, RandomStream stream, uint64_t offset, const float* x,
                   float* y) {
  const auto skipped = static_cast<int64_t>(offset % 4);
  grid_stride((n + skipped + 3) / 4, [&](int64_t block) {
    const auto words = random_words(stream, static_cast<uint32_t>(offset / 4 + static_cast<uint64_t>(block)));
    for (int64_t lane = 0; lane < 4; ++lane) {
      const int64_t i = 4 * block + lane - skipped;
      if (i >= 0 && i < n) y[i] = uniform_from_word(words[lane]) >= probability ? x[i] * scale : 0.0f;
    }
  });
}

constexpr int tile = 32, tile_rows = block_threads / tile;

// to[n,j,i] = from[n,i,j], by tiles in shared memory: reads and writes are both contiguous.
__global__ void __launch_bounds__(block_threads)
    transpose_kernel(int64_t batch, int64_t rows, int64_t columns, const float* from, float* to) {
  GPU_SHARED(float, staged, [tile][tile + 1]);
  const int64_t row_tiles = divide_up(rows, tile), column_tiles = divide_up(columns, tile);
  const int64_t lane = threadIdx.x % tile, first = threadIdx.x / tile;
  for (int64_t index = blockIdx.x; index < batch * row_tiles * column_tiles; index += gridDim.x) {
    const int64_t n = index / (row_tiles * column_tiles), place = index % (row_tiles * column_tiles);
    const int64_t i0 = place / column_tiles * tile, j0 = place % column_tiles * tile;
    const float* source = from + n * rows * columns;
    float* target = to + n * rows * columns;
    for (int64_t k = first; k < tile; k += tile_rows)
      if (i0 + k < rows && j0 + lane < columns) staged[k][lane] = source[(i0 + k) * columns + j0 + lane];
    __syncthreads();
    for (int64_t k = first; k < tile; k += tile_rows)
      if (j0 + k < columns && i0 + lane < rows) target[(j0 + k) * rows + i0 + lane] = staged[lane][k];
    __syncthreads();
  }
}

void transpose_each(Queue& queue, int64_t batch, int64_t rows, int64_t columns, const float* from, float* to) {
  const int64_t tiles = batch * divide_up(rows, tile) * divide_up(columns, tile);
  if (tiles == 0) return;
  launch(queue, transpose_kernel, static_cast<unsigned>(std::min(tiles, busy_blocks)), block_threads, 0, batch, rows,
         columns, from, to);
}

// Geometry of the option-A shortcut; a sample's elements are numbered in 32 bits.
struct Shortcut {
  int32_t height, width, in_channels, stride, out_height, out_width, out_channels;
  FastDivide by_in_channels, by_width, by_out_channels, by_out_width, by_stride;

  Shortcut(int64_t height, int64_t width, int64_t in_channels, int64_t stride, int64_t out_channels)
      : height(static_cast<int32_t>(height)),
        width(static_cast<int32_t>(width)),
        in_channels(static_cast<int32_t>(in_channels)),
        stride(static_cast<int32_t>(stride)),
        out_height(static_cast<int32_t>(divide_up(height, stride))),
        out_width(static_cast<int32_t>(divide_up(width, stride))),
        out_channels(static_cast<int32_t>(out_channels)),
        by_in_channels(in_channels),
        by_width(width),
        by_out_channels(out_channels),
        by_out_width(out_width),
        by_stride(stride) {
    NSGD_CHECK(height * width * out_channels <= INT32_MAX, "pad_channels: a {}x{} image of {} channels is too large",
               height, width, out_channels);
  }
  __host__ __device__ int32_t in_size() const { return height * width * in_channels; }
  __host__ __device__ int32_t out_size() const { return out_height * out_width * out_channels; }
};

__global__ void __launch_bounds__(block_threads)
    pad_channels_forward_kernel(int64_t batch, Shortcut s, const float* x, float* y) {
  sample_stride(batch, s.out_size(), [&](int64_t n, int32_t i) {
    int32_t channel = i;
    int32_t column = s.by_out_channels.reduce(channel);
    const int32_t row = s.by_out_width.reduce(column);
    const int32_t source = (row * s.stride * s.width + column * s.stride) * s.in_channels + channel;
    y[n * s.out_size() + i] = channel < s.in_channels ? x[n * s.in_size() + source] : 0.0f;
  });
}

__global__ void __launch_bounds__(block_threads)
    pad_channels_backward_kernel(int64_t batch, Shortcut s, const float* grad_y, float* grad_x) {
  sample_stride(batch, s.in_size(), [&](int64_t n, int32_t i) {
    int32_t channel = i;
    int32_t column_rest = s.by_in_channels.reduce(channel);
    int32_t row_rest = s.by_width.reduce(column_rest);
    const int32_t column = s.by_stride.reduce(column_rest), row = s.by_stride.reduce(row_rest);
    const int32_t source = (row * s.out_width + column) * s.out_channels + channel;
    grad_x[n * s.in_size() + i] = row_rest == 0 && column_rest == 0 ? grad_y[n * s.out_size() + source] : 0.0f;
  });
}

template <class Kernel>
void launch_shortcut(Queue& queue, Kernel kernel, int64_t batch, int32_t size, const Shortcut& shortcut,
                     const float* from, float* to) {
  const unsigned blocks = grid_size(size);
  launch(queue, kernel, dim3(blocks, sample_grid(batch, blocks)), block_threads, 0, batch, shortcut, from, to);
}

void check_shortcut(int64_t stride, int64_t in_channels, int64_t out_channels) {
  NSGD_CHECK(stride > 0 && out_channels >= in_channels,
             "pad_channels: stride {}, channels {} -> {}: the stride must be positive and channels must not decrease",
             stride, in_channels, out_channels);
}

}  // namespace

void fill(Queue& queue, int64_t n, float value, float* x) {
  if (n > 0) launch(queue, fill_kernel, grid_size(n), block_threads, 0, n, value, x);
}

void relu_forward(Queue& queue, int64_t n, const float* x, float* y) {
  if (n > 0) launch(queue, relu_forward_kernel, grid_size(n), block_threads, 0, n, x, y);
}

void relu_backward(Queue& queue, int64_t n, const float* y, const float* grad_y, float* grad_x) {
  if (n > 0) launch(queue, relu_backward_kernel, grid_size(n), block_threads, 0, n, y, grad_y, grad_x);
}

void add(Queue& queue, int64_t n, const float* x, float* y) {
  if (n > 0) launch(queue, add_kernel, grid_size(n), block_threads, 0, n, x, y);
}

void add_square(Queue& queue, int64_t n, const float* x, float* y) {
  if (n > 0) launch(queue, add_square_kernel, grid_size(n), block_threads, 0, n, x, y);
}

void scale(Queue& queue, int64_t n, Number<float> factor, const float* x, float* y) {
  if (n > 0) launch(queue, scale_kernel, grid_size(n), block_threads, 0, n, factor, x, y);
}

void dropout(Queue& queue, int64_t n, float probability, const RandomStream& stream, uint64_t offset, const float* x,
             float* y) {
  NSGD_CHECK(probability >= 0 && probability < 1, "dropout: probability {} is not in [0, 1)", probability);
  if (n == 0) return;
  launch(queue, dropout_kernel, grid_size(n / 4 + 2), block_threads, 0, n, probability, 1.0f / (1.0f - probability),
         stream, offset, x, y);
}

void nhwc_to_nchw(Queue& queue, int64_t batch, int64_t positions, int64_t channels, const float* x, float* y) {
  transpose_each(queue, batch, positions, channels, x, y);
}

void nchw_to_nhwc(Queue& queue, int64_t batch, int64_t positions, int64_t channels, const float* x, float* y) {
  transpose_each(queue, batch, channels, positions, x, y);
}

void pad_channels_forward(Queue& queue, const PadShape& shape, const float* x, float* y) {
  const int64_t batch = shape.batch, height = shape.height, width = shape.width, stride = shape.stride;
  const int64_t in_channels = shape.in_channels, out_channels = shape.out_channels;
  check_shortcut(stride, in_channels, out_channels);
  if (batch * height * width * out_channels == 0) return;
  const Shortcut shortcut(height, width, in_channels, stride, out_channels);
  launch_shortcut(queue, pad_channels_forward_kernel, batch, shortcut.out_size(), shortcut, x, y);
}

void pad_channels_backward(Queue& queue, const PadShape& shape, const float* grad_y, float* grad_x) {
  const int64_t batch = shape.batch, height = shape.height, width = shape.width, stride = shape.stride;
  const int64_t in_channels = shape.in_channels, out_channels = shape.out_channels;
  check_shortcut(stride, in_channels, out_channels);
  if (batch * height * width * in_channels == 0) return;
  const Shortcut shortcut(height, width, in_channels, stride, out_channels);
  launch_shortcut(queue, pad_channels_backward_kernel, batch, shortcut.in_size(), shortcut, grad_y, grad_x);
}

}  // namespace noisysgd::kernels::cuda
