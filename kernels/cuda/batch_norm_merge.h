// Merges of batch normalisation, of tiles of `width` channels and in a fixed order: blocks of a group into the group's
// statistics or gradients, and groups into running statistics or the parameters' gradients. A block of threads merges a
// tile of one group, and the last such block of all groups merges the groups.
#pragma once

#include <noisysgd/kernels/batch_norm_parts.h>
#include <noisysgd/kernels/cuda/batch_norm_tile.h>

namespace noisysgd::kernels::cuda {

struct Moments {
  double mean = 0, m2 = 0;  // m2: the sum of squared deviations from the mean
};

// Merges the blocks of a group, [blocks,C] from the thread's channel on, in one sweep: the sums are of differences from
// the first block's mean, which costs no digits of a double unless the blocks' means differ by very many deviations.
// Every block covers rows_per_block of the group's `rows` rows, the last one the rest. The result is valid in row 0.
__device__ inline Moments merge_moments(const Tile<1>& tile, int64_t blocks, int64_t rows_per_block, int64_t rows,
                                        int64_t channels, int width, const double* mean, const double* m2) {
  const double origin = tile.in_range ? mean[0] : 0;
  double sums[2] = {};
  if (tile.in_range)
#pragma unroll 8
    for (int64_t b = tile.row; b < blocks; b += tile.row_step) {
      const auto count = static_cast<double>(min(rows_per_block, rows - b * rows_per_block));
      const double difference = mean[b * channels] - origin;
      sums[0] += count * difference;
      sums[1] += m2[b * channels] + count * difference * difference;
    }
  sum_columns(sums, width);
  const auto count = static_cast<double>(rows);
  const double squares = sums[1] - sums[0] * sums[0] / count;
  return {origin + sums[0] / count, squares < 0 ? 0 : squares};  // NaN stays NaN
}

// BatchNormStatistics, and where the kernel keeps the groups' unbiased variances [groups,C].
struct StatisticsArrays {
  BatchNormStatistics results;
  float* variance;
};

// gamma and beta of a channel, loaded before the merge so that nothing waits for them after it.
struct ScaleAndShift {
  float gamma = 0, beta = 0;

  __device__ ScaleAndShift(const Tile<1>& tile, const StatisticsArrays& arrays) {
    if (tile.row > 0 || !tile.in_range) return;
    gamma = arrays.results.gamma[tile.column];
    beta = arrays.results.beta[tile.column];
  }
};

// Writes what row 0 has merged for a group and channel.
__device__ inline void write_statistics(const StatisticsArrays& arrays, const ScaleAndShift& parameters,
                                        const Moments& moments, int64_t rows, int64_t group, int64_t channel,
                                        int64_t channels) {
  const BatchNormStatistics& results = arrays.results;
  const auto count = static_cast<double>(rows);
  const int64_t i = group * channels + channel;
  const auto inverse = static_cast<float>(1.0 / sqrt(moments.m2 / count + results.epsilon));
  results.mean[i] = static_cast<float>(moments.mean);
  results.inverse_std[i] = inverse;
  arrays.variance[i] = static_cast<float>(moments.m2 / (count - 1));
  if (!results.factor) return;
  const float factor = parameters.gamma * inverse;
  results.factor[i] = factor;
  results.term[i] = static_cast<float>(parameters.beta - moments.mean * factor);
}

// Updates a channel's running statistics with one group after the other.
__device__ inline void move_running(const StatisticsArrays& arrays, int64_t groups, int64_t channel, int64_t channels) {
  constexpr int groups_at_once = 16;  // loaded before the first is needed
  const BatchNormStatistics& to = arrays.results;
  float running_mean = to.running_mean[channel], running_variance = to.running_variance[channel];
  for (int64_t first = 0; first < groups; first += groups_at_once) {
    float mean[groups_at_once], variance[groups_at_once];
#pragma unroll
    for (int g = 0; g < groups_at_once; ++g)
      if (first + g < groups) {
        mean[g] = to.mean[(first + g) * channels + channel];
        variance[g] = arrays.variance[(first + g) * channels + channel];
      }
#pragma unroll
    for (int g = 0; g < groups_at_once; ++g)
      if (first + g < groups) {
        running_mean = (1 - to.momentum) * running_mean + to.momentum * mean[g];
        running_variance = (1 - to.momentum) * running_variance + to.momentum * variance[g];
      }
  }
  to.running_mean[channel] = running_mean;
  to.running_variance[channel] = running_variance;
}

// Called by the block that merged a group; group_counter: of the tile.
__device__ inline void finish_statistics(const Tile<1>& tile, const StatisticsArrays& arrays,
                                         const ScaleAndShift& parameters, const Moments& moments, int64_t group,
                                         int64_t groups, int64_t rows, int64_t channels, unsigned* group_counter) {
  const bool writes = tile.row == 0 && tile.in_range;
  if (writes) write_statistics(arrays, parameters, moments, rows, group, tile.column, channels);
  if (is_last_block(group_counter, static_cast<unsigned>(groups)) && writes)
    move_running(arrays, groups, tile.column, channels);
}

// Per channel: sums over samples of the sums over positions of g and of g (x - mean), and of the squares of these.
enum { sum_grad, squared_grad, sum_product, squared_product, sums_per_channel };

// The parameters' arrays of a backward pass.
struct ParameterArrays {
  const float *gamma, *mean, *inverse_std;
  float *grad_gamma, *grad_beta, *gamma_second_moment, *beta_second_moment;

  template <class Arrays>  // BatchNormBackward, BatchNormGradientSums
  explicit ParameterArrays(const Arrays& of)
      : gamma(of.gamma),
        mean(of.mean),
        inverse_std(of.inverse_std),
        grad_gamma(of.grad_gamma),
        grad_beta(of.grad_beta),
        gamma_second_moment(of.gamma_second_moment),
        beta_second_moment(of.beta_second_moment) {}
};

// What the gradients of a group and channel are computed with, loaded before its sums are merged.
struct GroupAffine {
  float gamma = 0, mean = 0, inverse_std = 0;

  __device__ GroupAffine(const Tile<1>& tile, const ParameterArrays& arrays, int64_t group, int64_t channels) {
    if (tile.row > 0 || !tile.in_range) return;
    const int64_t i = group * channels + tile.column;
    gamma = arrays.gamma[tile.column];
    mean = arrays.mean[i];
    inverse_std = arrays.inverse_std[i];
  }
};

// What becomes of the sums of a group. Sums with x - mean are scaled to xhat in `groups`. The gradient of x subtracts
// offset and slope, or is an affine map with the factors.
struct GroupGradients {
  double* groups;         // [groups,4,C]
  float *offset, *slope;  // [groups,C]; null with factors
  BatchNormFactors factors;
};

__device__ inline void add_to_parameters(const ParameterArrays& arrays, int64_t channel,
                                         const double (&totals)[sums_per_channel]) {
  if (arrays.grad_gamma) arrays.grad_gamma[channel] += static_cast<float>(totals[sum_product]);
  if (arrays.grad_beta) arrays.grad_beta[channel] += static_cast<float>(totals[sum_grad]);
  if (arrays.gamma_second_moment) arrays.gamma_second_moment[channel] += static_cast<float>(totals[squared_product]);
  if (arrays.beta_second_moment) arrays.beta_second_moment[channel] += static_cast<float>(totals[squared_grad]);
}

// Sums `sums` [count,4,C] over its `count` rows; the threads below `width` get the totals of their channels.
__device__ inline void sum_rows(const Tile<1>& tile, int64_t count, int64_t channels, int width, const double* sums,
                                double (&totals)[sums_per_channel]) {
  for (double& total : totals) total = 0;
  if (tile.in_range)
#pragma unroll 4
    for (int64_t b = tile.row; b < count; b += tile.row_step)
      for (int sum = 0; sum < sums_per_channel; ++sum)
        totals[sum] += sums[(b * sums_per_channel + sum) * channels + tile.column];
  sum_columns(totals, width);
}

// Writes what row 0 has summed up for a group and channel. The sums of a single group go directly to the parameters.
__device__ inline void write_gradients(const ParameterArrays& arrays, const GroupAffine& affine,
                                       const GroupGradients& gradients, int64_t rows, int64_t group, int64_t groups,
                                       int64_t channel, int64_t channels, double (&totals)[sums_per_channel]) {
  const int64_t i = group * channels + channel;
  const double inverse = affine.inverse_std;
  totals[sum_product] *= inverse;
  totals[squared_product] *= inverse * inverse;
  if (groups == 1)
    add_to_parameters(arrays, channel, totals);
  else
    for (int sum = 0; sum < sums_per_channel; ++sum)
      gradients.groups[(group * sums_per_channel + sum) * channels + channel] = totals[sum];
  const double offset = totals[sum_grad] / static_cast<double>(rows);
  const double slope = totals[sum_product] / static_cast<double>(rows) * inverse;
  if (gradients.offset) {
    gradients.offset[i] = static_cast<float>(offset);
    gradients.slope[i] = static_cast<float>(slope);
    return;
  }
  const float grad = affine.gamma * affine.inverse_std;
  const auto x = static_cast<float>(-grad * slope);
  gradients.factors.grad[i] = grad;
  gradients.factors.x[i] = x;
  gradients.factors.term[i] = static_cast<float>(-grad * offset - double{x} * affine.mean);
}

// Called by the block that has summed up a group; group_counter: of the tile.
__device__ inline void finish_gradients(const Tile<1>& tile, const ParameterArrays& arrays, const GroupAffine& affine,
                                        const GroupGradients& gradients, int64_t rows, int64_t group, int64_t groups,
                                        int64_t channels, int width, unsigned* group_counter,
                                        double (&totals)[sums_per_channel]) {
  const bool writes = tile.row == 0 && tile.in_range;
  if (writes) write_gradients(arrays, affine, gradients, rows, group, groups, tile.column, channels, totals);
  if (groups == 1 || !is_last_block(group_counter, static_cast<unsigned>(groups))) return;
  sum_rows(tile, groups, channels, width, gradients.groups, totals);
  if (writes) add_to_parameters(arrays, tile.column, totals);
}

}  // namespace noisysgd::kernels::cuda
