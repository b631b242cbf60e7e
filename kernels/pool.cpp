#include <noisysgd/kernels/pool.h>

#include <algorithm>
#include <type_traits>

#include <noisysgd/kernels/channel_rows.h>
#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/scratch.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels {

void check(const PoolShape& s) {
  NSGD_CHECK(s.batch >= 0 && s.channels > 0 && s.kernel > 0 && s.kernel <= 16 && s.stride > 0 && s.padding >= 0 &&
                 2 * s.padding <= s.kernel && s.height + 2 * s.padding >= s.kernel &&
                 s.width + 2 * s.padding >= s.kernel,
             "pool: a window of {} (at most 16), stride {}, padding {} (at most half the window) does not fit a {}x{} "
             "image with {} channels",
             s.kernel, s.stride, s.padding, s.height, s.width, s.channels);
}

namespace cpu {
namespace {

// The part of a window inside the image along one axis: taps [first, last). Tap `tap` reads position origin + tap.
struct Taps {
  int64_t origin, first, last;
  Taps(int64_t output, int64_t kernel, int64_t stride, int64_t padding, int64_t size)
      : origin(output * stride - padding),
        first(std::max<int64_t>(0, -origin)),
        last(std::min(kernel, size - origin)) {}
};

// The NHWC geometry of one sample.
struct Sample {
  int64_t height, width, channels, kernel, stride, padding, out_height, out_width;
  explicit Sample(const PoolShape& s)
      : height(s.height),
        width(s.width),
        channels(s.channels),
        kernel(s.kernel),
        stride(s.stride),
        padding(s.padding),
        out_height(s.out_height()),
        out_width(s.out_width()) {}
  int64_t in_size() const { return height * width * channels; }
  int64_t out_size() const { return out_height * out_width * channels; }
};

#define NSGD_INLINE inline __attribute__((always_inline))  // into every clone of the calling function

// Calls visit(lanes, first channel) with compile-time lanes, so that one block of channels stays in registers over all
// taps of a window. Instead of leaving a remainder, the last block overlaps the one before it, so a visit may only
// overwrite, never accumulate.
template <class Visit>
NSGD_INLINE void over_channels(int64_t channels, const Visit& visit) {
  const auto blocks = [&](auto lanes) __attribute__((always_inline)) {
    for (int64_t c = 0; c + lanes <= channels; c += lanes) visit(lanes, c);
    if (channels % lanes != 0) visit(lanes, channels - lanes);
  };
  if (channels >= 16)
    blocks(std::integral_constant<int64_t, 16>());
  else if (channels >= 4)
    blocks(std::integral_constant<int64_t, 4>());
  else
    blocks(std::integral_constant<int64_t, 1>());
}

template <int64_t lanes>
NSGD_INLINE void max_window(const Sample& s, const Taps& rows, const Taps& columns, const float* x, float* y,
                            uint8_t* index) {
  float best[lanes];
  int32_t where[lanes];
  const float* start = x + ((rows.origin + rows.first) * s.width + columns.origin + columns.first) * s.channels;
  for (int64_t c = 0; c < lanes; ++c) {
    best[c] = start[c];
    where[c] = static_cast<int32_t>(rows.first * s.kernel + columns.first);
  }
  for (int64_t r = rows.first; r < rows.last; ++r)
    for (int64_t q = columns.first; q < columns.last; ++q) {
      const float* tap = x + ((rows.origin + r) * s.width + columns.origin + q) * s.channels;
      const auto number = static_cast<int32_t>(r * s.kernel + q);
#pragma omp simd
      for (int64_t c = 0; c < lanes; ++c) {
        const float value = tap[c];
        const bool better = value > best[c] || value != value;  // NaN wins, so that it propagates
        best[c] = better ? value : best[c];
        where[c] = better ? number : where[c];
      }
    }
  for (int64_t c = 0; c < lanes; ++c) y[c] = best[c];
  if (index)
    for (int64_t c = 0; c < lanes; ++c) index[c] = static_cast<uint8_t>(where[c]);
}

NSGD_TARGET_CLONES void max_forward(const Sample& s, const float* x, float* y, uint8_t* index) {
  for (int64_t i = 0; i < s.out_height; ++i) {
    const Taps rows(i, s.kernel, s.stride, s.padding, s.height);
    for (int64_t j = 0; j < s.out_width; ++j) {
      const Taps columns(j, s.kernel, s.stride, s.padding, s.width);
      const int64_t output = (i * s.out_width + j) * s.channels;
      over_channels(
          s.channels, [&](auto lanes, int64_t c) __attribute__((always_inline)) {
            max_window<lanes>(s, rows, columns, x + c, y + output + c, index ? index + output + c : nullptr);
          });
    }
  }
}

// For windows that do not overlap: every tap is written once, with the gradient or with zero.
NSGD_TARGET_CLONES void max_backward_disjoint(const Sample& s, const uint8_t* index, const float* grad_y,
                                              float* grad_x) {
  for (int64_t i = 0; i < s.out_height; ++i) {
    const Taps rows(i, s.kernel, s.stride, s.padding, s.height);
    for (int64_t j = 0; j < s.out_width; ++j) {
      const Taps columns(j, s.kernel, s.stride, s.padding, s.width);
      const int64_t output = (i * s.out_width + j) * s.channels;
      over_channels(
          s.channels, [&](auto lanes, int64_t c0) __attribute__((always_inline)) {
            const float* grad = grad_y + output + c0;
            const uint8_t* where = index + output + c0;
            for (int64_t r = rows.first; r < rows.last; ++r)
              for (int64_t q = columns.first; q < columns.last; ++q) {
                float* tap = grad_x + ((rows.origin + r) * s.width + columns.origin + q) * s.channels + c0;
                const auto number = static_cast<int32_t>(r * s.kernel + q);
#pragma omp simd
                for (int64_t c = 0; c < lanes; ++c) tap[c] = int32_t{where[c]} == number ? grad[c] : 0.0f;
              }
          });
    }
  }
}

void max_backward(const Sample& s, const uint8_t* index, const float* grad_y, float* grad_x) {
  std::fill_n(grad_x, s.in_size(), 0.0f);
  if (s.stride >= s.kernel) return max_backward_disjoint(s, index, grad_y, grad_x);
  for (int64_t i = 0; i < s.out_height; ++i)
    for (int64_t j = 0; j < s.out_width; ++j) {
      const int64_t output = (i * s.out_width + j) * s.channels;
      for (int64_t c = 0; c < s.channels; ++c) {
        const int64_t row = i * s.stride - s.padding + index[output + c] / s.kernel;
        const int64_t column = j * s.stride - s.padding + index[output + c] % s.kernel;
        grad_x[(row * s.width + column) * s.channels + c] += grad_y[output + c];
      }
    }
}

NSGD_TARGET_CLONES void max_tangent(const Sample& s, const uint8_t* index, const float* x_tangent, float* y_tangent) {
  for (int64_t i = 0; i < s.out_height; ++i) {
    const Taps rows(i, s.kernel, s.stride, s.padding, s.height);
    for (int64_t j = 0; j < s.out_width; ++j) {
      const Taps columns(j, s.kernel, s.stride, s.padding, s.width);
      const int64_t output = (i * s.out_width + j) * s.channels;
      over_channels(
          s.channels, [&](auto lanes, int64_t c0) __attribute__((always_inline)) {
            const uint8_t* where = index + output + c0;
            float found[lanes] = {};
            for (int64_t r = rows.first; r < rows.last; ++r)
              for (int64_t q = columns.first; q < columns.last; ++q) {
                const float* tap = x_tangent + ((rows.origin + r) * s.width + columns.origin + q) * s.channels + c0;
                const auto number = static_cast<int32_t>(r * s.kernel + q);
#pragma omp simd
                for (int64_t c = 0; c < lanes; ++c) found[c] = int32_t{where[c]} == number ? tap[c] : found[c];
              }
            for (int64_t c = 0; c < lanes; ++c) y_tangent[output + c0 + c] = found[c];
          });
    }
  }
}

NSGD_TARGET_CLONES void average_forward(const Sample& s, const float* x, float* y) {
  const float scale = 1.0f / static_cast<float>(s.kernel * s.kernel);
  for (int64_t i = 0; i < s.out_height; ++i) {
    const Taps rows(i, s.kernel, s.stride, s.padding, s.height);
    for (int64_t j = 0; j < s.out_width; ++j) {
      const Taps columns(j, s.kernel, s.stride, s.padding, s.width);
      over_channels(
          s.channels, [&](auto lanes, int64_t c0) __attribute__((always_inline)) {
            float sums[lanes] = {};
            for (int64_t r = rows.first; r < rows.last; ++r)
              for (int64_t q = columns.first; q < columns.last; ++q) {
                const float* tap = x + ((rows.origin + r) * s.width + columns.origin + q) * s.channels + c0;
#pragma omp simd
                for (int64_t c = 0; c < lanes; ++c) sums[c] += tap[c];
              }
            float* out = y + (i * s.out_width + j) * s.channels + c0;
#pragma omp simd
            for (int64_t c = 0; c < lanes; ++c) out[c] = scale * sums[c];
          });
    }
  }
}

NSGD_TARGET_CLONES void average_backward(const Sample& s, const float* grad_y, float* grad_x) {
  const float scale = 1.0f / static_cast<float>(s.kernel * s.kernel);
  const bool disjoint = s.stride >= s.kernel;  // every tap is written once
  std::fill_n(grad_x, s.in_size(), 0.0f);
  for (int64_t i = 0; i < s.out_height; ++i) {
    const Taps rows(i, s.kernel, s.stride, s.padding, s.height);
    for (int64_t j = 0; j < s.out_width; ++j) {
      const Taps columns(j, s.kernel, s.stride, s.padding, s.width);
      const float* grad = grad_y + (i * s.out_width + j) * s.channels;
      for (int64_t r = rows.first; r < rows.last; ++r)
        for (int64_t q = columns.first; q < columns.last; ++q) {
          float* tap = grad_x + ((rows.origin + r) * s.width + columns.origin + q) * s.channels;
          if (disjoint)
            over_channels(
                s.channels, [&](auto lanes, int64_t c0) __attribute__((always_inline)) {
#pragma omp simd
                  for (int64_t c = 0; c < lanes; ++c) tap[c0 + c] = scale * grad[c0 + c];
                });
          else
#pragma omp simd
            for (int64_t c = 0; c < s.channels; ++c) tap[c] += scale * grad[c];
        }
    }
  }
}

}  // namespace

void max_pool_forward(Queue& queue, const PoolShape& shape, const float* x, float* y, uint8_t* index) {
  check(shape);
  const Sample s(shape);
  parallel_blocks(queue, shape.batch, shape.batch * s.in_size(), [&](int64_t n, int64_t) {
    max_forward(s, x + n * s.in_size(), y + n * s.out_size(), index ? index + n * s.out_size() : nullptr);
  });
}

void max_pool_backward(Queue& queue, const PoolShape& shape, const uint8_t* index, const float* grad_y, float* grad_x) {
  check(shape);
  const Sample s(shape);
  parallel_blocks(queue, shape.batch, shape.batch * s.in_size(), [&](int64_t n, int64_t) {
    max_backward(s, index + n * s.out_size(), grad_y + n * s.out_size(), grad_x + n * s.in_size());
  });
}

void max_pool_tangent(Queue& queue, const PoolShape& shape, const uint8_t* index, const float* x_tangent,
                      float* y_tangent) {
  check(shape);
  const Sample s(shape);
  parallel_blocks(queue, shape.batch, shape.batch * s.in_size(), [&](int64_t n, int64_t) {
    max_tangent(s, index + n * s.out_size(), x_tangent + n * s.in_size(), y_tangent + n * s.out_size());
  });
}

void average_pool_forward(Queue& queue, const PoolShape& shape, const float* x, float* y) {
  check(shape);
  const Sample s(shape);
  parallel_blocks(queue, shape.batch, shape.batch * s.in_size(),
                  [&](int64_t n, int64_t) { average_forward(s, x + n * s.in_size(), y + n * s.out_size()); });
}

void average_pool_backward(Queue& queue, const PoolShape& shape, const float* grad_y, float* grad_x) {
  check(shape);
  const Sample s(shape);
  parallel_blocks(queue, shape.batch, shape.batch * s.in_size(), [&](int64_t n, int64_t) {
    average_backward(s, grad_y + n * s.out_size(), grad_x + n * s.in_size());
  });
}

void global_average_pool_forward(Queue& queue, int64_t batch, int64_t positions, int64_t channels, const float* x,
                                 float* y) {
  if (batch == 0 || channels == 0) return;
  NSGD_CHECK(positions > 0, "global average pool: {} positions have no mean", positions);
  const int64_t size = positions * channels, width = std::min(wide_row(channels), size);
  Scratch scratch(queue);
  float* const thread_wide = scratch.take<float>(queue.threads() * width);
  parallel_blocks(queue, batch, batch * size, [&](int64_t n, int64_t thread) {
    float *wide = thread_wide + thread * width, *mean = y + n * channels;
    std::fill_n(wide, width, 0.0f);
    sum_wide_rows(x + n * size, size, width, wide);
    std::fill_n(mean, channels, 0.0f);
    fold_channels(wide, channels, width, mean);
    for (int64_t c = 0; c < channels; ++c) mean[c] /= static_cast<float>(positions);
  });
}

void global_average_pool_backward(Queue& queue, int64_t batch, int64_t positions, int64_t channels, const float* grad_y,
                                  float* grad_x) {
  if (batch == 0 || channels == 0) return;
  NSGD_CHECK(positions > 0, "global average pool: {} positions have no mean", positions);
  parallel_blocks(queue, batch, batch * positions * channels, [&](int64_t n, int64_t) {
    float* first = grad_x + n * positions * channels;
    for (int64_t c = 0; c < channels; ++c) first[c] = grad_y[n * channels + c] / static_cast<float>(positions);
    for (int64_t t = 1; t < positions; ++t) std::copy_n(first, channels, first + t * channels);
  });
}

}  // namespace cpu
}  // namespace noisysgd::kernels
