#include <noisysgd/kernels/batch_norm_parts.h>

#include <cmath>

#include <noisysgd/kernels/batch_norm_blocks.h>
#include <noisysgd/kernels/channel_rows.h>
#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/scratch.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels {

void check(const BatchNormShape& shape, const BatchNormStatistics& arrays) {
  check(shape);
  NSGD_CHECK(shape.samples == 0 || shape.group * shape.positions > 1,
             "batch norm: a group of {} sample with 1 position has no variance", shape.group);
  NSGD_CHECK((arrays.factor == nullptr) == (arrays.term == nullptr),
             "batch norm: a factor and a term are wanted together");
}

void check(const BatchNormShape& shape, const BatchNormBlocks& blocks) {
  const int64_t rows = shape.group * shape.positions;
  NSGD_CHECK(blocks.positions > 0 && blocks.count == (rows + blocks.positions - 1) / blocks.positions,
             "batch norm: {} blocks of {} positions are not the {} positions of a group", blocks.count,
             blocks.positions, rows);
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

// The blocks of all groups, and how many rows block b of a group has.
template <class BlockRows>
struct BlockMoments {
  int64_t per_group;
  const double *mean, *m2;  // [groups,per_group,C]
  BlockRows rows_of;
};

template <class BlockRows>
void merge_statistics(Queue& queue, const BatchNormShape& shape, const BlockMoments<BlockRows>& blocks,
                      const BatchNormStatistics& arrays) {
  const int64_t channels = shape.channels, groups = shape.groups();
  const auto rows = static_cast<double>(shape.group * shape.positions);
  Scratch scratch(queue);
  double* const merged = scratch.take<double>(groups * 2 * channels);  // [groups,2,C]: mean, m2
  float* const variances = scratch.take<float>(groups * channels);     // [groups,C], unbiased
  parallel_blocks(queue, groups, groups * blocks.per_group * channels * 8, [&](int64_t group, int64_t) {
    const double* const means = blocks.mean + group * blocks.per_group * channels;
    const double* const m2s = blocks.m2 + group * blocks.per_group * channels;
    double *const mean = merged + group * 2 * channels, *const m2 = mean + channels;
    std::copy_n(means, channels, mean);
    std::copy_n(m2s, channels, m2);
    double merged_rows = static_cast<double>(blocks.rows_of(0));
    for (int64_t b = 1; b < blocks.per_group; ++b) {
      const auto block_rows = static_cast<double>(blocks.rows_of(b));
      const double weight = block_rows / (merged_rows + block_rows);
      for (int64_t c = 0; c < channels; ++c) {
        const double difference = means[b * channels + c] - mean[c];
        mean[c] += difference * weight;
        m2[c] += m2s[b * channels + c] + difference * difference * merged_rows * weight;
      }
      merged_rows += block_rows;
    }
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = group * channels + c;
      arrays.mean[i] = static_cast<float>(mean[c]);
      arrays.inverse_std[i] = static_cast<float>(1.0 / std::sqrt(m2[c] / rows + arrays.epsilon));
      variances[i] = static_cast<float>(m2[c] / (rows - 1));
      if (!arrays.factor) continue;
      arrays.factor[i] = arrays.gamma[c] * arrays.inverse_std[i];
      arrays.term[i] = static_cast<float>(arrays.beta[c] - mean[c] * arrays.factor[i]);
    }
  });
  const float momentum = arrays.momentum;
  float *const running_mean = arrays.running_mean, *const running_variance = arrays.running_variance;
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = group * channels + c;
      running_mean[c] = (1 - momentum) * running_mean[c] + momentum * arrays.mean[i];
      running_variance[c] = (1 - momentum) * running_variance[c] + momentum * variances[i];
    }
}

// grad_x = g grad + x factor + term, with the constants of a wide row
NSGD_TARGET_CLONES void affine_gradient(const float* x, const float* g, int64_t n, int64_t width, const float* grad,
                                        const float* factor, const float* term, float* grad_x) {
  for (int64_t i = 0; i < n; i += width) {
    const int64_t count = std::min(width, n - i);
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) grad_x[i + j] = g[i + j] * grad[j] + (x[i + j] * factor[j] + term[j]);
  }
}

}  // namespace

void batch_norm_statistics(Queue& queue, const BatchNormShape& shape, const BatchNormStatistics& arrays,
                           const float* x) {
  check(shape, arrays);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, rows = shape.group * shape.positions;
  const int64_t width = std::min(wide_row(channels), rows * channels);
  const Blocks blocks(rows, channels);
  const int64_t count = shape.groups() * blocks.per_group, work = shape.samples * shape.positions * channels;

  Scratch scratch(queue);
  double* const block_mean = scratch.take<double>(count * channels);  // [groups,blocks,C]
  double* const block_m2 = scratch.take<double>(count * channels);    // [groups,blocks,C]
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
  const auto rows_of = [&](int64_t b) { return blocks.last(b) - blocks.first(b); };
  merge_statistics(queue, shape, BlockMoments{blocks.per_group, block_mean, block_m2, rows_of}, arrays);
}

void batch_norm_merge_statistics(Queue& queue, const BatchNormShape& shape, const BatchNormBlocks& blocks,
                                 const BatchNormStatistics& arrays) {
  check(shape, arrays);
  check(shape, blocks);
  if (shape.samples == 0) return;
  const int64_t rows = shape.group * shape.positions;
  const auto rows_of = [&](int64_t b) { return std::min(blocks.positions, rows - b * blocks.positions); };
  merge_statistics(queue, shape, BlockMoments{blocks.count, blocks.mean, blocks.m2, rows_of}, arrays);
}

void batch_norm_merge_gradients(Queue& queue, const BatchNormShape& shape, const BatchNormGradientSums& arrays) {
  check(shape);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, groups = shape.groups(), parts = arrays.parts;
  const int64_t stride = sums_per_channel * channels, samples = shape.group;
  Scratch scratch(queue);
  double* const group_sums = scratch.take<double>(groups * stride);  // [groups,4,C]
  parallel_blocks(queue, groups, shape.samples * parts * channels * 8, [&](int64_t group, int64_t) {
    double* const sums = group_sums + group * stride;
    std::fill_n(sums, stride, 0.0);
    for (int64_t n = group * samples; n < (group + 1) * samples; ++n)
      for (int64_t c = 0; c < channels; ++c) {
        double grad = 0, product = 0;
        for (int64_t part = n * parts; part < (n + 1) * parts; ++part) {
          grad += arrays.sums[(part * channels + c) * 2];
          product += arrays.sums[(part * channels + c) * 2 + 1];
        }
        sums[sum_grad * channels + c] += grad;
        sums[sum_product * channels + c] += product;
        sums[squared_grad * channels + c] += grad * grad;
        sums[squared_product * channels + c] += product * product;
      }
    finish_gradients(
        samples * shape.positions, channels, arrays.inverse_std + group * channels, sums,
        [&](int64_t c, double offset, double slope) { write_factors(arrays, c, group * channels + c, offset, slope); });
  });
  add_to_parameters(arrays, groups, channels, group_sums, stride);
}

void batch_norm_input_gradient(Queue& queue, const BatchNormShape& shape, const BatchNormFactors& factors,
                               const float* x, const float* g, float* grad_x) {
  check(shape);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, rows = shape.group * shape.positions, groups = shape.groups();
  const int64_t width = std::min(wide_row(channels), rows * channels);
  const Blocks blocks(rows, channels);
  Scratch scratch(queue);
  float* const wide = scratch.take<float>(groups * 3 * width);  // [groups,3,W]: grad, x, term
  for (int64_t group = 0; group < groups; ++group) {
    float* to = wide + group * 3 * width;
    for (const float* constants : {factors.grad, factors.x, factors.term}) {
      repeat_channels(constants + group * channels, channels, width, to);
      to += width;
    }
  }
  parallel_blocks(queue, groups * blocks.per_group, groups * rows * channels, [&](int64_t block, int64_t) {
    const int64_t first = blocks.first(block) * channels, last = blocks.last(block) * channels;
    const float* const grad = wide + block / blocks.per_group * 3 * width;
    affine_gradient(x + first, g + first, last - first, width, grad, grad + width, grad + 2 * width, grad_x + first);
  });
}

}  // namespace cpu
}  // namespace noisysgd::kernels
