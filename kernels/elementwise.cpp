#include <noisysgd/kernels/elementwise.h>

#include <algorithm>
#include <array>

#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels::cpu {
namespace {

constexpr int64_t grain = 16384;  // elements per thread that are worth starting it

NSGD_TARGET_CLONES void relu(const float* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] < 0 ? 0.0f : x[i];  // NaN stays NaN
}

NSGD_TARGET_CLONES void relu_gradient(const float* y, const float* grad_y, int64_t n, float* grad_x) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) grad_x[i] = y[i] > 0 ? grad_y[i] : 0.0f;
}

NSGD_TARGET_CLONES void add_to(const float* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

NSGD_TARGET_CLONES void add_square_to(const float* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += x[i] * x[i];
}

NSGD_TARGET_CLONES void multiply(float factor, const float* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = factor * x[i];
}

constexpr int64_t dropout_blocks = 64;  // Philox blocks drawn at a time

// keep[4*b+l] = scale if word l of block first+b keeps its element, else 0
NSGD_TARGET_CLONES void draw_keep(const RandomStream& stream, float probability, uint32_t first, float scale,
                                  float* keep) {
  // A copy that holds the step by value instead of by address, so that the loop is vectorised.
  const RandomStream local{stream.seed, stream.step.read(), stream.tensor, stream.purpose};
  uint32_t words[4][dropout_blocks];
#pragma omp simd
  for (int64_t block = 0; block < dropout_blocks; ++block) {
    const std::array<uint32_t, 4> drawn = random_words(local, first + static_cast<uint32_t>(block));
    words[0][block] = drawn[0];
    words[1][block] = drawn[1];
    words[2][block] = drawn[2];
    words[3][block] = drawn[3];
  }
  for (int64_t block = 0; block < dropout_blocks; ++block)
    for (int lane = 0; lane < 4; ++lane)
      keep[4 * block + lane] = uniform_from_word(words[lane][block]) >= probability ? scale : 0.0f;
}

NSGD_TARGET_CLONES void apply_keep(const float* x, const float* keep, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = keep[i] != 0 ? x[i] * keep[i] : 0.0f;
}

void dropout_range(const RandomStream& stream, float probability, float scale, uint64_t offset, const float* x,
                   int64_t n, float* y) {
  alignas(64) float keep[4 * dropout_blocks];
  for (int64_t i = 0; i < n;) {
    const auto skipped = static_cast<int64_t>((offset + i) % 4);  // words of the first block before word offset+i
    const int64_t count = std::min(n - i, 4 * dropout_blocks - skipped);
    draw_keep(stream, probability, static_cast<uint32_t>((offset + i) / 4), scale, keep);
    apply_keep(x + i, keep + skipped, count, y + i);
    i += count;
  }
}

// to[j,i] = from[i,j], in tiles that fit the L1 cache
NSGD_TARGET_CLONES void transpose(const float* from, int64_t rows, int64_t columns, float* to) {
  constexpr int64_t tile = 32;
  for (int64_t i0 = 0; i0 < rows; i0 += tile)
    for (int64_t j0 = 0; j0 < columns; j0 += tile)
      for (int64_t j = j0; j < std::min(j0 + tile, columns); ++j)
        for (int64_t i = i0; i < std::min(i0 + tile, rows); ++i) to[j * rows + i] = from[i * columns + j];
}

void transpose_each(Queue& queue, int64_t batch, int64_t rows, int64_t columns, const float* from, float* to) {
  const int64_t size = rows * columns;
  parallel_blocks(queue, batch, batch * size,
                  [&](int64_t n, int64_t) { transpose(from + n * size, rows, columns, to + n * size); });
}

}  // namespace

void fill(Queue& queue, int64_t n, float value, float* x) {
  parallel_ranges(queue, n, grain, [&](int64_t first, int64_t last) { std::fill(x + first, x + last, value); });
}

void relu_forward(Queue& queue, int64_t n, const float* x, float* y) {
  parallel_ranges(queue, n, grain, [&](int64_t first, int64_t last) { relu(x + first, last - first, y + first); });
}

void relu_backward(Queue& queue, int64_t n, const float* y, const float* grad_y, float* grad_x) {
  parallel_ranges(queue, n, grain, [&](int64_t first, int64_t last) {
    relu_gradient(y + first, grad_y + first, last - first, grad_x + first);
  });
}

void add(Queue& queue, int64_t n, const float* x, float* y) {
  parallel_ranges(queue, n, grain, [&](int64_t first, int64_t last) { add_to(x + first, last - first, y + first); });
}

void add_square(Queue& queue, int64_t n, const float* x, float* y) {
  parallel_ranges(queue, n, grain,
                  [&](int64_t first, int64_t last) { add_square_to(x + first, last - first, y + first); });
}

void scale(Queue& queue, int64_t n, Number<float> given, const float* x, float* y) {
  const float factor = given.read();
  parallel_ranges(queue, n, grain,
                  [&](int64_t first, int64_t last) { multiply(factor, x + first, last - first, y + first); });
}

void dropout(Queue& queue, int64_t n, float probability, const RandomStream& stream, uint64_t offset, const float* x,
             float* y) {
  NSGD_CHECK(probability >= 0 && probability < 1, "dropout: probability {} is not in [0, 1)", probability);
  const float scale = 1.0f / (1.0f - probability);
  parallel_ranges(queue, n, grain / 4, [&](int64_t first, int64_t last) {
    dropout_range(stream, probability, scale, offset + static_cast<uint64_t>(first), x + first, last - first,
                  y + first);
  });
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
  NSGD_CHECK(stride > 0 && out_channels >= in_channels,
             "pad_channels: stride {}, channels {} -> {}: the stride must be positive and channels must not decrease",
             stride, in_channels, out_channels);
  const int64_t out_height = (height + stride - 1) / stride, out_width = (width + stride - 1) / stride;
  parallel_blocks(queue, batch * out_height, batch * out_height * out_width * out_channels, [&](int64_t row, int64_t) {
    const int64_t n = row / out_height, i = row % out_height;
    const float* from = x + (n * height + i * stride) * width * in_channels;
    float* to = y + row * out_width * out_channels;
    for (int64_t j = 0; j < out_width; ++j, to += out_channels) {
      std::copy_n(from + j * stride * in_channels, in_channels, to);
      std::fill_n(to + in_channels, out_channels - in_channels, 0.0f);
    }
  });
}

void pad_channels_backward(Queue& queue, const PadShape& shape, const float* grad_y, float* grad_x) {
  const int64_t batch = shape.batch, height = shape.height, width = shape.width, stride = shape.stride;
  const int64_t in_channels = shape.in_channels, out_channels = shape.out_channels;
  NSGD_CHECK(stride > 0 && out_channels >= in_channels,
             "pad_channels: stride {}, channels {} -> {}: the stride must be positive and channels must not decrease",
             stride, in_channels, out_channels);
  const int64_t out_height = (height + stride - 1) / stride, out_width = (width + stride - 1) / stride;
  parallel_blocks(queue, batch * height, batch * height * width * in_channels, [&](int64_t row, int64_t) {
    const int64_t n = row / height, i = row % height;
    float* to = grad_x + row * width * in_channels;
    std::fill_n(to, width * in_channels, 0.0f);
    if (i % stride != 0) return;
    const float* from = grad_y + (n * out_height + i / stride) * out_width * out_channels;
    for (int64_t j = 0; j < out_width; ++j)
      std::copy_n(from + j * out_channels, in_channels, to + j * stride * in_channels);
  });
}

}  // namespace noisysgd::kernels::cpu
