#include <noisysgd/kernels/batch_norm.h>

#include <cmath>
#include <limits>

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
}

// A ghost group is cut into blocks that fit the L1 cache. Each block yields its mean and its sum of squared deviations
// from that mean (two passes, the second from cache). Blocks are merged in double precision, in a fixed order, by
//   mean = mean_a + d n_b/(n_a+n_b),  m2 = m2_a + m2_b + d^2 n_a n_b/(n_a+n_b),  d = mean_b - mean_a
// (Chan, Golub, LeVeque 1983). This is as accurate as two passes over the whole group but reads memory only once.
// Blocks also keep every thread busy when there are fewer groups than threads.
namespace cpu {
namespace {

// sum_deviation[j] += x - mean[j],  sum_squares[j] += (x - mean[j])^2 over the rows of column j
NSGD_TARGET_CLONES void deviations(const float* x, int64_t rows, int64_t width, const float* mean, float* sum_deviation,
                                   float* sum_squares) {
  for (int64_t first = 0; first < width; first += tile_columns) {
    if (width - first >= tile_columns) {
      float sums[tile_columns] = {}, squares[tile_columns] = {};
      for (int64_t row = 0; row < rows; ++row) {
#pragma omp simd
        for (int64_t j = 0; j < tile_columns; ++j) {
          const float deviation = x[row * width + first + j] - mean[first + j];
          sums[j] += deviation;
          squares[j] += deviation * deviation;
        }
      }
      for (int64_t j = 0; j < tile_columns; ++j) {
        sum_deviation[first + j] += sums[j];
        sum_squares[first + j] += squares[j];
      }
    } else {
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t j = first; j < width; ++j) {
          const float deviation = x[row * width + j] - mean[j];
          sum_deviation[j] += deviation;
          sum_squares[j] += deviation * deviation;
        }
    }
  }
}

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
const float* at(const float* array, int64_t offset) { return array ? array + offset : nullptr; }

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

constexpr int64_t wide_rows_at_once = 256;  // short partial sums: see sum_wide_rows

// Calls kernel(first element, rows, row width) for the wide rows of n elements, then for the incomplete last one.
template <class Kernel>
void over_wide_rows(int64_t n, int64_t width, const Kernel& kernel) {
  const int64_t rows = n / width;
  for (int64_t row = 0; row < rows; row += wide_rows_at_once)
    kernel(row * width, std::min(wide_rows_at_once, rows - row), width);
  if (rows * width < n) kernel(rows * width, int64_t{1}, n - rows * width);
}

// Blocks of whole rows (forward) or whole samples (backward) of one group, numbered over all groups.
struct Blocks {
  int64_t per_group, units_per_group;

  Blocks(int64_t units, int64_t elements_per_unit)
      : per_group(std::clamp<int64_t>(units * elements_per_unit / 8192, 1, units)), units_per_group(units) {}

  int64_t first(int64_t block) const {  // first unit of the block, counted over all groups
    return block / per_group * units_per_group + units_per_group * (block % per_group) / per_group;
  }
  int64_t last(int64_t block) const {
    return block / per_group * units_per_group + units_per_group * (block % per_group + 1) / per_group;
  }
};

}  // namespace

void batch_norm_forward(Queue& queue, const BatchNormShape& shape, const BatchNormForward& arrays, const float* x,
                        float* y) {
  check(shape);
  if (shape.samples == 0) return;
  const float epsilon = arrays.epsilon, momentum = arrays.momentum, *gamma = arrays.gamma, *beta = arrays.beta;
  float *const running_mean = arrays.running_mean, *const running_variance = arrays.running_variance;
  float *const mean = arrays.mean, *const inverse_std = arrays.inverse_std;
  const BatchNormEpilogue& epilogue = arrays.epilogue;
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
  NSGD_CHECK(rows > 1, "batch norm: a group of {} sample with 1 position has no variance", shape.group);
  const int64_t width = std::min(wide_row(channels), rows * channels);
  const Blocks blocks(rows, channels);
  const int64_t count = groups * blocks.per_group, work = shape.samples * shape.positions * channels;

  Scratch scratch(queue);
  double* const block_mean = scratch.take<double>(count * channels);  // [groups,blocks,C]
  double* const block_m2 = scratch.take<double>(count * channels);    // [groups,blocks,C]
  float* const variances = scratch.take<float>(groups * channels);   // [groups,C], unbiased
  float* const wide = scratch.take<float>(groups * 3 * width);       // [groups,3,W]: mean, scale, shift
  float* const thread_wide = scratch.take<float>(queue.threads() * (3 * width + channels));

  parallel_blocks(queue, count, 2 * work, [&](int64_t block, int64_t thread) {
    const float* x_block = x + blocks.first(block) * channels;
    const int64_t block_rows = blocks.last(block) - blocks.first(block), n = block_rows * channels;
    float* wide_mean = thread_wide + thread * (3 * width + channels);
    float *sums = wide_mean + width, *squares = sums + width, *narrow = squares + width;
    double* mean_out = block_mean + block * channels;
    double* m2_out = block_m2 + block * channels;

    std::fill_n(sums, width, 0.0f);
    sum_wide_rows(x_block, n, width, sums);
    std::fill_n(narrow, channels, 0.0f);
    fold_channels(sums, channels, width, narrow);
    for (int64_t c = 0; c < channels; ++c) narrow[c] /= static_cast<float>(block_rows);
    repeat_channels(narrow, channels, width, wide_mean);

    std::fill_n(sums, 2 * width, 0.0f);
    over_wide_rows(n, width, [&](int64_t first, int64_t wide_rows, int64_t row_width) {
      deviations(x_block + first, wide_rows, row_width, wide_mean, sums, squares);
    });
    std::fill_n(mean_out, channels, 0.0);
    std::fill_n(m2_out, channels, 0.0);
    fold_channels(sums, channels, width, mean_out);
    fold_channels(squares, channels, width, m2_out);
    for (int64_t c = 0; c < channels; ++c) {  // the second pass also corrects the rounding of the first one's mean
      const double correction = mean_out[c] / static_cast<double>(block_rows);
      m2_out[c] = std::max(0.0, m2_out[c] - correction * mean_out[c]);
      mean_out[c] = narrow[c] + correction;
    }
  });

  parallel_blocks(queue, groups, count * channels * 8, [&](int64_t group, int64_t) {
    double* group_mean = block_mean + group * blocks.per_group * channels;  // merged into the first block
    double* group_m2 = block_m2 + group * blocks.per_group * channels;
    double merged_rows = static_cast<double>(blocks.last(0));
    for (int64_t b = 1; b < blocks.per_group; ++b) {
      const auto block_rows = static_cast<double>(blocks.last(b) - blocks.first(b));
      const double weight = block_rows / (merged_rows + block_rows);
      for (int64_t c = 0; c < channels; ++c) {
        const double difference = group_mean[b * channels + c] - group_mean[c];
        group_mean[c] += difference * weight;
        group_m2[c] += group_m2[b * channels + c] + difference * difference * merged_rows * weight;
      }
      merged_rows += block_rows;
    }
    float* group_wide = wide + group * 3 * width;
    for (int64_t c = 0; c < channels; ++c) {
      const auto center = static_cast<float>(group_mean[c]);
      const auto inverse = static_cast<float>(1.0 / std::sqrt(group_m2[c] / static_cast<double>(rows) + epsilon));
      mean[group * channels + c] = center;
      inverse_std[group * channels + c] = inverse;
      variances[group * channels + c] = static_cast<float>(group_m2[c] / static_cast<double>(rows - 1));
      for (int64_t j = c; j < width; j += channels) {
        group_wide[j] = center;
        group_wide[width + j] = gamma[c] * inverse;
        group_wide[2 * width + j] = beta[c];
      }
    }
  });
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t c = 0; c < channels; ++c) {
      running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[group * channels + c];
      running_variance[c] =
          (1 - momentum) * running_variance[c] + momentum * variances[group * channels + c];
    }

  const float* const addend = epilogue.addend.f32("batch_norm_forward");
  parallel_blocks(queue, count, work, [&](int64_t block, int64_t) {
    const int64_t first = blocks.first(block) * channels, last = blocks.last(block) * channels;
    const float* group_wide = wide + block / blocks.per_group * 3 * width;
    normalise(x + first, at(addend, first), last - first, width, WideAffine(group_wide, width), floor_of(epilogue),
              y + first);
  });
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

  // Sums over one sample are formed in float; sums of these and of their squares over samples in double.
  enum { sum_grad, sum_product, squared_grad, squared_product, sums_per_channel };
  Scratch scratch(queue);
  double* const block_sums = scratch.take<double>(count * sums_per_channel * channels);  // [groups,blocks,4,C]
  float* const wide = scratch.take<float>(groups * 5 * width);                          // mean, scale, shift, offset, slope
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
  const double inverse_rows = 1.0 / static_cast<double>(shape.group * shape.positions);
  parallel_blocks(queue, groups, count * channels * 8, [&](int64_t group, int64_t) {
    double* sums = block_sums + group * blocks.per_group * sums_per_channel * channels;
    for (int64_t b = 1; b < blocks.per_group; ++b)
      for (int64_t i = 0; i < sums_per_channel * channels; ++i) sums[i] += sums[b * sums_per_channel * channels + i];
    float* group_wide = wide + group * 5 * width;
    for (int64_t c = 0; c < channels; ++c) {
      const double inverse = inverse_std[group * channels + c];
      sums[sum_product * channels + c] *= inverse;  // sum of grad_y xhat
      sums[squared_product * channels + c] *= inverse * inverse;
      const auto offset = static_cast<float>(sums[sum_grad * channels + c] * inverse_rows);
      const auto slope = static_cast<float>(sums[sum_product * channels + c] * inverse_rows * inverse);
      for (int64_t j = c; j < width; j += channels) {
        group_wide[3 * width + j] = offset;
        group_wide[4 * width + j] = slope;
      }
    }
  });
  const int64_t group_stride = blocks.per_group * sums_per_channel * channels;
  const auto accumulate = [&](int sum, float* target) {
    for (int64_t c = 0; c < channels; ++c) {
      double total = 0;
      for (int64_t group = 0; group < groups; ++group)
        total += block_sums[group * group_stride + sum * channels + c];
      target[c] += static_cast<float>(total);
    }
  };
  if (arrays.grad_gamma) accumulate(sum_product, arrays.grad_gamma);
  if (arrays.grad_beta) accumulate(sum_grad, arrays.grad_beta);
  if (arrays.gamma_second_moment) accumulate(squared_product, arrays.gamma_second_moment);
  if (arrays.beta_second_moment) accumulate(squared_grad, arrays.beta_second_moment);

  parallel_blocks(queue, count, work, [&](int64_t block, int64_t) {
    const int64_t first = blocks.first(block) * sample_size, last = blocks.last(block) * sample_size;
    const float* group_wide = wide + block / blocks.per_group * 5 * width;
    const WideAffine affine(group_wide, width);
    input_gradient(x + first, (grad_addend ? grad_addend : grad_y) + first, relu_beta && !grad_addend, last - first,
                   width, affine, group_wide + 3 * width, group_wide + 4 * width, grad_x + first);
  });
}

void batch_norm_normalised(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma,
                           const float* beta, const float* mean, const float* inverse_std, float* y) {
  check(shape);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, group_size = shape.group * shape.positions * channels;
  const int64_t width = std::min(wide_row(channels), shape.positions * channels);
  const Blocks blocks(shape.group, shape.positions * channels);
  Scratch scratch(queue);
  float* const wide = scratch.take<float>(shape.groups() * 3 * width);
  for (int64_t group = 0; group < shape.groups(); ++group) {
    float* group_wide = wide + group * 3 * width;
    for (int64_t j = 0; j < width; ++j) {
      const int64_t c = j % channels, i = group * channels + c;
      group_wide[j] = mean[i];
      group_wide[width + j] = gamma ? gamma[c] * inverse_std[i] : inverse_std[i];
      group_wide[2 * width + j] = beta ? beta[c] : 0.0f;
    }
  }
  parallel_blocks(queue, shape.groups() * blocks.per_group, shape.groups() * group_size, [&](int64_t block, int64_t) {
    const int64_t first = blocks.first(block) * shape.positions * channels;
    const int64_t last = blocks.last(block) * shape.positions * channels;
    const float* group_wide = wide + block / blocks.per_group * 3 * width;
    normalise(x + first, nullptr, last - first, width, WideAffine(group_wide, width), floor_of({}), y + first);
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
