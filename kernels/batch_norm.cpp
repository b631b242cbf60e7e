#include <noisysgd/kernels/batch_norm.h>

#include <cmath>
#include <limits>

#include <noisysgd/kernels/batch_norm_blocks.h>
#include <noisysgd/kernels/channel_rows.h>
#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/scratch.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels {

void check(const BatchNormShape& s) {
  NSGD_CHECK(s.samples >= 0 && s.positions > 0 && s.channels > 0 && s.group > 0 && s.samples % s.group == 0,
             "batch norm: {} samples of {} positions and {} channels do not divide into groups of {}", s.samples,
             s.positions, s.channels, s.group);
}

void check(const BatchNormBackward& arrays) {
  const bool at_most_one = !arrays.relu_beta || !arrays.relu_output;
  NSGD_CHECK(at_most_one && (arrays.grad_addend || !(arrays.other_grad_y || arrays.relu_output)),
             "batch norm: a second gradient and a saved output of the ReLU need an array for the addend's gradient");
  const BatchNormFactors& factors = arrays.factors;
  NSGD_CHECK(factors.grad ? factors.x && factors.term && !arrays.grad_x : !factors.x && !factors.term,
             "batch norm: backward writes either the gradient of x or all factors");
  NSGD_CHECK(!factors.grad || !arrays.relu_beta || arrays.grad_addend,
             "batch norm: the factors belong to the gradient before the ReLU, which needs an array");
}

namespace cpu {
namespace {

// Normalises a wide row of one ghost group: y = (x - mean) scale + shift.
struct WideAffine {
  WideAffine(const float* rows, int64_t width) : mean(rows), scale(rows + width), shift(rows + 2 * width) {}
  const float *mean, *scale, *shift;  // [W]
};

// y = max(floor, (x - mean) scale + shift + addend); NaN stays NaN
NSGD_TARGET_CLONES void normalise(const float* x, const float* addend, int64_t n, int64_t width,
                                  const WideAffine& affine, float floor, float* y) {
  const float *const mean = affine.mean, *const scale = affine.scale, *const shift = affine.shift;
  for (int64_t i = 0; i < n; i += width) {
    const int64_t count = std::min(width, n - i);
    if (addend) {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        const float value = (x[i + j] - mean[j]) * scale[j] + shift[j] + addend[i + j];
        y[i + j] = value < floor ? floor : value;
      }
    } else {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        const float value = (x[i + j] - mean[j]) * scale[j] + shift[j];
        y[i + j] = value < floor ? floor : value;
      }
    }
  }
}

float floor_of(const BatchNormEpilogue& epilogue) {
  return epilogue.relu ? 0.0f : -std::numeric_limits<float>::infinity();
}

#define NSGD_INLINE inline __attribute__((always_inline))  // into every clone of the calling function

// The gradient of the epilogue's input, as the backward passes read it: grad_y + other where the ReLU's output is
// positive, else 0.
struct GradientSource {
  const float *grad_y, *other, *output;  // a null other means 0, a null output positive everywhere
  bool by_affine;                        // the sign is that of x normalised by WideAffine, not of output
  float* to;                             // the destination of the gradient, or null

  GradientSource from(int64_t offset) const {
    return {grad_y + offset, at(other, offset), at(output, offset), by_affine, to ? to + offset : nullptr};
  }
};

// sum_grad[j] += g,  sum_product[j] += g (x - mean[j]) for the gradient g
template <bool adds, bool by_output, bool by_affine, bool writes>
NSGD_INLINE void add_gradients(const float* x, const GradientSource& source, int64_t rows, int64_t width,
                               const WideAffine& affine, float* sum_grad, float* sum_product) {
  const float *const grad_y = source.grad_y, *const other = source.other, *const output = source.output;
  float* const to = source.to;
  const auto gradient = [&](int64_t i, float deviation, float scale, float shift) __attribute__((always_inline)) {
    float grad = grad_y[i];
    if constexpr (adds) grad += other[i];
    if constexpr (by_output) grad = output[i] > 0 ? grad : 0.0f;
    if constexpr (by_affine) grad = deviation * scale + shift > 0 ? grad : 0.0f;
    if constexpr (writes) to[i] = grad;
    return grad;
  };
  const auto add_tile = [&](auto tile, int64_t first) __attribute__((always_inline)) {
    constexpr int64_t columns = tile;
    float sums[columns] = {}, products[columns] = {};
    float mean[columns], scale[columns], shift[columns];  // copies that `to` cannot alias
    for (int64_t j = 0; j < columns; ++j) {
      mean[j] = affine.mean[first + j];
      scale[j] = by_affine ? affine.scale[first + j] : 0;
      shift[j] = by_affine ? affine.shift[first + j] : 0;
    }
    for (int64_t row = 0; row < rows; ++row) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t i = row * width + first + j;
        const float deviation = x[i] - mean[j], grad = gradient(i, deviation, scale[j], shift[j]);
        sums[j] += grad;
        products[j] += grad * deviation;
      }
    }
    for (int64_t j = 0; j < columns; ++j) {
      sum_grad[first + j] += sums[j];
      sum_product[first + j] += products[j];
    }
  };
  int64_t first = 0;  // pairs of tiles first: contiguous reads of 64 columns gain a fifth of memory bandwidth
  for (; width - first >= 2 * tile_columns; first += 2 * tile_columns)
    add_tile(std::integral_constant<int64_t, 2 * tile_columns>{}, first);
  for (; width - first >= tile_columns; first += tile_columns)
    add_tile(std::integral_constant<int64_t, tile_columns>{}, first);
  for (int64_t row = 0; first < width && row < rows; ++row)
    for (int64_t j = first; j < width; ++j) {
      const float deviation = x[row * width + j] - affine.mean[j],
                  grad = gradient(row * width + j, deviation, affine.scale[j], affine.shift[j]);
      sum_grad[j] += grad;
      sum_product[j] += grad * deviation;
    }
}

NSGD_TARGET_CLONES void gradient_sums(const float* x, const GradientSource& g, int64_t rows, int64_t width,
                                      const WideAffine& affine, float* sum_grad, float* sum_product) {
  if (!g.to && !g.by_affine)
    add_gradients<false, false, false, false>(x, g, rows, width, affine, sum_grad, sum_product);
  else if (!g.to)
    add_gradients<false, false, true, false>(x, g, rows, width, affine, sum_grad, sum_product);
  else if (g.output && g.other)
    add_gradients<true, true, false, true>(x, g, rows, width, affine, sum_grad, sum_product);
  else if (g.output)
    add_gradients<false, true, false, true>(x, g, rows, width, affine, sum_grad, sum_product);
  else if (g.by_affine && g.other)
    add_gradients<true, false, true, true>(x, g, rows, width, affine, sum_grad, sum_product);
  else if (g.by_affine)
    add_gradients<false, false, true, true>(x, g, rows, width, affine, sum_grad, sum_product);
  else if (g.other)
    add_gradients<true, false, false, true>(x, g, rows, width, affine, sum_grad, sum_product);
  else
    add_gradients<false, false, false, true>(x, g, rows, width, affine, sum_grad, sum_product);
}

// grad_x = scale (grad - offset - (x - mean) slope). grad is grad_y; if masked, it is 0 where the ReLU's output is 0.
NSGD_TARGET_CLONES void input_gradient(const float* x, const float* grad_y, bool masked, int64_t n, int64_t width,
                                       const WideAffine& affine, const float* offset, const float* slope,
                                       float* grad_x) {
  const float *const mean = affine.mean, *const scale = affine.scale, *const shift = affine.shift;
  for (int64_t i = 0; i < n; i += width) {
    const int64_t count = std::min(width, n - i);
    if (masked) {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j) {
        const float deviation = x[i + j] - mean[j];
        const float grad = deviation * scale[j] + shift[j] > 0 ? grad_y[i + j] : 0.0f;
        grad_x[i + j] = scale[j] * (grad - offset[j] - deviation * slope[j]);
      }
    } else {
#pragma omp simd
      for (int64_t j = 0; j < count; ++j)
        grad_x[i + j] = scale[j] * (grad_y[i + j] - offset[j] - (x[i + j] - mean[j]) * slope[j]);
    }
  }
}

}  // namespace

void batch_norm_forward(Queue& queue, const BatchNormShape& shape, const BatchNormForward& arrays, const float* x,
                        float* y) {
  batch_norm_statistics(queue, shape, statistics_of(arrays), x);
  batch_norm_normalised(queue, shape, normalised_of(arrays), x, y);
}

void batch_norm_inference(Queue& queue, const BatchNormInference& arrays, const float* x, float* y) {
  const int64_t rows = arrays.rows, channels = arrays.channels;
  if (rows == 0 || channels == 0) return;
  const float epsilon = arrays.epsilon, *gamma = arrays.gamma, *beta = arrays.beta;
  const float *running_mean = arrays.running_mean, *running_variance = arrays.running_variance;
  const BatchNormEpilogue& epilogue = arrays.epilogue;
  const int64_t width = wide_row(channels), rows_per_wide = width / channels;
  Scratch scratch(queue);
  float* const wide = scratch.take<float>(3 * width);  // mean, scale, shift
  for (int64_t j = 0; j < width; ++j) {
    const int64_t c = j % channels;
    wide[j] = running_mean[c];
    wide[width + j] = static_cast<float>(gamma[c] / std::sqrt(double{running_variance[c]} + epsilon));
    wide[2 * width + j] = beta[c];
  }
  const int64_t wide_rows = (rows + rows_per_wide - 1) / rows_per_wide;
  const float* const addend = epilogue.addend.f32("batch_norm_inference");
  parallel_ranges(queue, wide_rows, std::max<int64_t>(1, 32768 / width), [&](int64_t begin, int64_t end) {
    const int64_t first = begin * width;
    normalise(x + first, at(addend, first), std::min(end * width, rows * channels) - first, width,
              WideAffine(wide, width), floor_of(epilogue), y + first);
  });
}

void batch_norm_backward(Queue& queue, const BatchNormShape& shape, const BatchNormBackward& arrays) {
  check(shape);
  check(arrays);
  if (shape.samples == 0) return;
  constexpr const char* op = "batch_norm_backward";
  const float *const x = arrays.x.f32(op), *const grad_y = arrays.grad_y.f32(op),
                     *const other_grad_y = arrays.other_grad_y.f32(op), *const relu_output = arrays.relu_output.f32(op);
  float *const grad_addend = arrays.grad_addend.f32(op), *const grad_x = arrays.grad_x.f32(op);
  const float *const gamma = arrays.gamma, *const mean = arrays.mean, *const inverse_std = arrays.inverse_std,
                     *const relu_beta = arrays.relu_beta;
  const int64_t channels = shape.channels, groups = shape.groups(), sample_size = shape.positions * channels;
  const int64_t width = std::min(wide_row(channels), sample_size);
  const Blocks blocks(shape.group, sample_size);
  const int64_t count = groups * blocks.per_group, work = shape.samples * sample_size;

  Scratch scratch(queue);
  double* const block_sums = scratch.take<double>(count * sums_per_channel * channels);  // [groups,blocks,4,C]
  float* const wide = scratch.take<float>(groups * 5 * width);  // mean, scale, shift, offset, slope
  float* const thread_wide = scratch.take<float>(queue.threads() * 2 * (width + channels));
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t j = 0; j < width; ++j) {
      float* group_wide = wide + group * 5 * width;
      const int64_t c = j % channels, i = group * channels + c;
      group_wide[j] = mean[i];
      group_wide[width + j] = gamma[c] * inverse_std[i];
      group_wide[2 * width + j] = relu_beta ? relu_beta[c] : 0.0f;
    }

  const GradientSource source{grad_y, other_grad_y, relu_output, relu_beta != nullptr, grad_addend};
  parallel_blocks(queue, count, 2 * work, [&](int64_t block, int64_t thread) {
    const WideAffine affine(wide + block / blocks.per_group * 5 * width, width);
    double* sums = block_sums + block * sums_per_channel * channels;
    float* wide_sums = thread_wide + thread * 2 * (width + channels);
    float *wide_products = wide_sums + width, *grad = wide_products + width, *product = grad + channels;
    std::fill_n(sums, sums_per_channel * channels, 0.0);
    for (int64_t n = blocks.first(block); n < blocks.last(block); ++n) {
      std::fill_n(wide_sums, 2 * (width + channels), 0.0f);
      over_wide_rows(sample_size, width, [&](int64_t first, int64_t wide_rows, int64_t row_width) {
        const int64_t begin = n * sample_size + first;
        gradient_sums(x + begin, source.from(begin), wide_rows, row_width, affine, wide_sums, wide_products);
      });
      fold_channels(wide_sums, channels, width, grad);
      fold_channels(wide_products, channels, width, product);
      for (int64_t c = 0; c < channels; ++c) {
        sums[sum_grad * channels + c] += grad[c];
        sums[sum_product * channels + c] += product[c];
        sums[squared_grad * channels + c] += double{grad[c]} * grad[c];
        sums[squared_product * channels + c] += double{product[c]} * product[c];
      }
    }
  });

  // Adds blocks up into groups (in place, into the group's first block) and groups into the parameters' gradients.
  parallel_blocks(queue, groups, count * channels * 8, [&](int64_t group, int64_t) {
    double* sums = block_sums + group * blocks.per_group * sums_per_channel * channels;
    for (int64_t b = 1; b < blocks.per_group; ++b)
      for (int64_t i = 0; i < sums_per_channel * channels; ++i) sums[i] += sums[b * sums_per_channel * channels + i];
    float* group_wide = wide + group * 5 * width;
    const auto write = [&](int64_t c, double offset, double slope) {
      if (arrays.factors.grad) return write_factors(arrays, c, group * channels + c, offset, slope);
      for (int64_t j = c; j < width; j += channels) {
        group_wide[3 * width + j] = static_cast<float>(offset);
        group_wide[4 * width + j] = static_cast<float>(slope);
      }
    };
    finish_gradients(shape.group * shape.positions, channels, inverse_std + group * channels, sums, write);
  });
  add_to_parameters(arrays, groups, channels, block_sums, blocks.per_group * sums_per_channel * channels);
  if (arrays.factors.grad) return;

  parallel_blocks(queue, count, work, [&](int64_t block, int64_t) {
    const int64_t first = blocks.first(block) * sample_size, last = blocks.last(block) * sample_size;
    const float* group_wide = wide + block / blocks.per_group * 5 * width;
    const WideAffine affine(group_wide, width);
    input_gradient(x + first, (grad_addend ? grad_addend : grad_y) + first, relu_beta && !grad_addend, last - first,
                   width, affine, group_wide + 3 * width, group_wide + 4 * width, grad_x + first);
  });
}

void batch_norm_normalised(Queue& queue, const BatchNormShape& shape, const BatchNormNormalised& arrays, const float* x,
                           float* y) {
  check(shape);
  if (shape.samples == 0) return;
  const float *const gamma = arrays.gamma, *const beta = arrays.beta;
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
  const int64_t width = std::min(wide_row(channels), rows * channels);
  const Blocks blocks(rows, channels);
  Scratch scratch(queue);
  float* const wide = scratch.take<float>(groups * 3 * width);  // [groups,3,W]: mean, scale, shift
  for (int64_t group = 0; group < groups; ++group) {
    float* group_wide = wide + group * 3 * width;
    for (int64_t j = 0; j < width; ++j) {
      const int64_t c = j % channels, i = group * channels + c;
      group_wide[j] = arrays.mean[i];
      group_wide[width + j] = gamma ? gamma[c] * arrays.inverse_std[i] : arrays.inverse_std[i];
      group_wide[2 * width + j] = beta ? beta[c] : 0.0f;
    }
  }
  const float* const addend = arrays.epilogue.addend.f32("batch_norm_normalised");
  parallel_blocks(queue, groups * blocks.per_group, groups * rows * channels, [&](int64_t block, int64_t) {
    const int64_t first = blocks.first(block) * channels, last = blocks.last(block) * channels;
    const float* group_wide = wide + block / blocks.per_group * 3 * width;
    normalise(x + first, at(addend, first), last - first, width, WideAffine(group_wide, width),
              floor_of(arrays.epilogue), y + first);
  });
}

void batch_norm_sample_gradients(Queue& queue, const BatchNormShape& shape, const float* x, const float* mean,
                                 const float* inverse_std, const float* grad_y, float* sums, float* products) {
  check(shape);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, sample_size = shape.positions * channels;
  const int64_t width = std::min(wide_row(channels), sample_size);
  Scratch scratch(queue);
  float* const wide_means = scratch.take<float>(shape.groups() * width);
  float* const thread_wide = scratch.take<float>(queue.threads() * 2 * width);
  for (int64_t group = 0; group < shape.groups(); ++group)
    repeat_channels(mean + group * channels, channels, width, wide_means + group * width);
  const GradientSource source{grad_y, nullptr, nullptr, false, nullptr};
  parallel_blocks(queue, shape.samples, 2 * shape.samples * sample_size, [&](int64_t n, int64_t thread) {
    const int64_t group = n / shape.group;
    float* wide_sums = thread_wide + thread * 2 * width;
    const WideAffine affine(wide_means + group * width, width);  // only its mean is read
    std::fill_n(wide_sums, 2 * width, 0.0f);
    over_wide_rows(sample_size, width, [&](int64_t first, int64_t rows, int64_t row_width) {
      const int64_t begin = n * sample_size + first;
      gradient_sums(x + begin, source.from(begin), rows, row_width, affine, wide_sums, wide_sums + width);
    });
    std::fill_n(sums + n * channels, channels, 0.0f);
    std::fill_n(products + n * channels, channels, 0.0f);
    fold_channels(wide_sums, channels, width, sums + n * channels);
    fold_channels(wide_sums + width, channels, width, products + n * channels);
    for (int64_t c = 0; c < channels; ++c) products[n * channels + c] *= inverse_std[group * channels + c];
  });
}

}  // namespace cpu
}  // namespace noisysgd::kernels
