#include "kernels/batch_norm.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/sample_sums.h"
#include "kernels/scratch.h"

// As in batch_norm.cpp, blocks of a ghost group give mean and sum of squared deviations in two passes, the second from
// the caches, and are merged in double precision, in a fixed order (Chan, Golub, LeVeque 1983).
namespace noisysgd::kernels::cuda {
namespace {

constexpr int64_t block_elements = 16384;  // of one block's rows and channels: 64 KiB stay in the first-level cache

// The balanced partition of [0,total) into `parts`: part i begins here and ends where part i+1 begins.
__host__ __device__ int64_t part_begin(int64_t i, int64_t parts, int64_t total) { return i * total / parts; }

// The sum of each lane's value over the warps of the block and over lanes that agree modulo `width`, valid in warp 0.
__device__ double sum_rows(double value, int width) {
  GPU_SHARED(double, warp_sums, [warps_per_block][warp_lanes]);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, warp = static_cast<int>(threadIdx.x) / warp_lanes;
  warp_sums[warp][lane] = sum_lanes(value, width);
  __syncthreads();
  double sum = 0;
  if (warp == 0)
    for (int i = 0; i < warps_per_block; ++i) sum += warp_sums[i][lane];
  __syncthreads();
  return sum;
}

// Grid: channel tiles, blocks of a group, groups. block_mean, block_m2 [groups,blocks,C].
__global__ void __launch_bounds__(block_threads)
    group_statistics_kernel(int64_t rows, int64_t channels, int width, const float* x, double* block_mean,
                            double* block_m2) {
  GPU_SHARED(float, tile_mean, [warp_lanes]);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const int64_t channel = int64_t{blockIdx.x} * width + lane % width, blocks = gridDim.y, group = blockIdx.z;
  const int64_t first = part_begin(blockIdx.y, blocks, rows), last = part_begin(blockIdx.y + 1, blocks, rows);
  const auto count = static_cast<double>(last - first);
  const bool in_range = channel < channels;
  const float* column = x + group * rows * channels + channel;
  const int64_t row_step = block_threads / width, row0 = first + static_cast<int64_t>(threadIdx.x) / width;

  float sum = 0;
  if (in_range)
    for (int64_t row = row0; row < last; row += row_step) sum += column[row * channels];
  const double total = sum_rows(sum, width);
  if (threadIdx.x < warp_lanes) tile_mean[lane] = static_cast<float>(total / count);
  __syncthreads();

  const float mean = tile_mean[lane];
  float sum_deviation = 0, sum_squares = 0;
  if (in_range)
    for (int64_t row = row0; row < last; row += row_step) {
      const float deviation = column[row * channels] - mean;
      sum_deviation += deviation;
      sum_squares += deviation * deviation;
    }
  const double deviations = sum_rows(sum_deviation, width), squares = sum_rows(sum_squares, width);
  if (threadIdx.x >= static_cast<unsigned>(width) || !in_range) return;
  // The second pass also corrects the rounding of the first one's mean.
  const int64_t place = (group * blocks + blockIdx.y) * channels + channel;
  block_mean[place] = mean + deviations / count;
  block_m2[place] = fmax(0.0, squares - deviations * deviations / count);
}

// variance [groups,C]: unbiased
__global__ void __launch_bounds__(block_threads)
    merge_statistics_kernel(int64_t groups, int64_t blocks, int64_t rows, int64_t channels, float epsilon,
                            const double* block_mean, const double* block_m2, float* mean, float* inverse_std,
                            float* variance) {
  grid_stride(groups * channels, [&](int64_t i) {
    const int64_t first = i / channels * blocks * channels + i % channels;
    double merged_mean = block_mean[first], merged_m2 = block_m2[first];
    auto merged_rows = static_cast<double>(part_begin(1, blocks, rows));
    for (int64_t b = 1; b < blocks; ++b) {
      const auto block_rows = static_cast<double>(part_begin(b + 1, blocks, rows) - part_begin(b, blocks, rows));
      const double weight = block_rows / (merged_rows + block_rows);
      const double difference = block_mean[first + b * channels] - merged_mean;
      merged_mean += difference * weight;
      merged_m2 += block_m2[first + b * channels] + difference * difference * merged_rows * weight;
      merged_rows += block_rows;
    }
    mean[i] = static_cast<float>(merged_mean);
    inverse_std[i] = static_cast<float>(1.0 / sqrt(merged_m2 / static_cast<double>(rows) + epsilon));
    variance[i] = static_cast<float>(merged_m2 / static_cast<double>(rows - 1));
  });
}

__global__ void __launch_bounds__(block_threads)
    running_statistics_kernel(int64_t groups, int64_t channels, float momentum, const float* mean,
                              const float* variance, float* running_mean, float* running_variance) {
  grid_stride(channels, [&](int64_t c) {
    float m = running_mean[c], v = running_variance[c];
    for (int64_t group = 0; group < groups; ++group) {
      m = (1 - momentum) * m + momentum * mean[group * channels + c];
      v = (1 - momentum) * v + momentum * variance[group * channels + c];
    }
    running_mean[c] = m;
    running_variance[c] = v;
  });
}

struct Affine {
  float mean, scale, shift;
  __device__ float operator()(float x) const { return (x - mean) * scale + shift; }
};

// Of one channel and group. gamma and beta null: 1 and 0.
__device__ Affine affine_of(const float* gamma, const float* beta, const float* mean, const float* inverse_std,
                            int64_t c, int64_t i) {
  return {mean[i], gamma ? gamma[c] * inverse_std[i] : inverse_std[i], beta ? beta[c] : 0.0f};
}

// NaN stays NaN.
__device__ float apply(const BatchNormTail& tail, float value, int64_t i) {
  if (tail.addend) value += tail.addend[i];
  return tail.relu && value < 0 ? 0.0f : value;
}

// Second grid dimension: groups. gamma and beta null: 1 and 0.
__global__ void __launch_bounds__(block_threads)
    normalise_kernel(int64_t groups, int64_t rows, int64_t channels, const float* x, const float* gamma,
                     const float* beta, const float* mean, const float* inverse_std, BatchNormTail tail, float* y) {
  for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
    const int64_t origin = group * rows * channels;
    channel_stride(
        rows, channels, [&](int64_t c) { return affine_of(gamma, beta, mean, inverse_std, c, group * channels + c); },
        [&](int64_t i, const Affine& affine) { y[origin + i] = apply(tail, affine(x[origin + i]), origin + i); });
  }
}

__global__ void __launch_bounds__(block_threads)
    normalise_running_kernel(int64_t rows, int64_t channels, float epsilon, const float* x, const float* gamma,
                             const float* beta, const float* running_mean, const float* running_variance,
                             BatchNormTail tail, float* y) {
  channel_stride(
      rows, channels,
      [&](int64_t c) {
        const double deviation = sqrt(double{running_variance[c]} + epsilon);
        return Affine{running_mean[c], static_cast<float>(gamma[c] / deviation), beta[c]};
      },
      [&](int64_t i, const Affine& affine) { y[i] = apply(tail, affine(x[i]), i); });
}

// Per channel and block of samples: sum of grad_y and of grad_y (x - mean), and of their squares sample by sample.
enum { sum_grad, squared_grad, sum_product, squared_product, sums_per_channel };

// Grid: channel tiles, blocks of a group, groups. block_sums [groups,blocks,4,C].
__global__ void __launch_bounds__(block_threads)
    gradient_sums_kernel(int64_t group_samples, int64_t positions, int64_t channels, int width, const float* x,
                         const float* gamma, const float* relu_beta, const float* mean, const float* inverse_std,
                         const float* grad_y, double* block_sums) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const int64_t channel = int64_t{blockIdx.x} * width + lane % width, blocks = gridDim.y, group = blockIdx.z;
  const bool in_range = channel < channels;
  const Affine affine =
      in_range ? affine_of(gamma, relu_beta, mean, inverse_std, channel, group * channels + channel) : Affine{};
  double totals[sums_per_channel];
  sum_samples<2>(
      group * group_samples + part_begin(blockIdx.y, blocks, group_samples),
      group * group_samples + part_begin(blockIdx.y + 1, blocks, group_samples), positions, channels, width, in_range,
      [&](int64_t i, float(&sums)[2]) {
        const float input = x[i + channel], grad = relu_beta && !(affine(input) > 0) ? 0.0f : grad_y[i + channel];
        sums[0] += grad;
        sums[1] += grad * (input - affine.mean);
      },
      totals);
  if (threadIdx.x >= static_cast<unsigned>(width) || !in_range) return;
  double* to = block_sums + (group * blocks + blockIdx.y) * sums_per_channel * channels + channel;
  for (int sum = 0; sum < sums_per_channel; ++sum) to[sum * channels] = totals[sum];
}

// Sums over the blocks go to block 0 of each group, those with x - mean scaled to xhat; offset, slope [groups,C] are
// what grad_x subtracts.
__global__ void __launch_bounds__(block_threads)
    merge_gradient_sums_kernel(int64_t groups, int64_t blocks, int64_t rows, int64_t channels, const float* inverse_std,
                               double* block_sums, float* offset, float* slope) {
  grid_stride(groups * channels, [&](int64_t i) {
    double* sums = block_sums + i / channels * blocks * sums_per_channel * channels + i % channels;
    double totals[sums_per_channel] = {};
    for (int64_t b = 0; b < blocks; ++b)
      for (int sum = 0; sum < sums_per_channel; ++sum) totals[sum] += sums[(b * sums_per_channel + sum) * channels];
    const double inverse = inverse_std[i];
    totals[sum_product] *= inverse;
    totals[squared_product] *= inverse * inverse;
    for (int sum = 0; sum < sums_per_channel; ++sum) sums[sum * channels] = totals[sum];
    offset[i] = static_cast<float>(totals[sum_grad] / static_cast<double>(rows));
    slope[i] = static_cast<float>(totals[sum_product] / static_cast<double>(rows) * inverse);
  });
}

__global__ void __launch_bounds__(block_threads)
    accumulate_gradients_kernel(int64_t groups, int64_t blocks, int64_t channels, const double* block_sums,
                                float* grad_gamma, float* grad_beta, float* gamma_second_moment,
                                float* beta_second_moment) {
  grid_stride(channels, [&](int64_t c) {
    double totals[sums_per_channel] = {};
    for (int64_t group = 0; group < groups; ++group)
      for (int sum = 0; sum < sums_per_channel; ++sum)
        totals[sum] += block_sums[(group * blocks * sums_per_channel + sum) * channels + c];
    grad_gamma[c] += static_cast<float>(totals[sum_product]);
    grad_beta[c] += static_cast<float>(totals[sum_grad]);
    if (gamma_second_moment) gamma_second_moment[c] += static_cast<float>(totals[squared_product]);
    if (beta_second_moment) beta_second_moment[c] += static_cast<float>(totals[squared_grad]);
  });
}

struct InputGradient {
  Affine affine;
  float offset, slope;
  __device__ float operator()(float x, float grad_y) const {
    return affine.scale * (grad_y - offset - (x - affine.mean) * slope);
  }
};

// Second grid dimension: groups.
__global__ void __launch_bounds__(block_threads)
    input_gradient_kernel(int64_t groups, int64_t rows, int64_t channels, const float* x, const float* gamma,
                          const float* relu_beta, const float* mean, const float* inverse_std, const float* offset,
                          const float* slope, const float* grad_y, float* grad_x) {
  for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
    const int64_t origin = group * rows * channels;
    channel_stride(
        rows, channels,
        [&](int64_t c) {
          const int64_t i = group * channels + c;
          return InputGradient{affine_of(gamma, relu_beta, mean, inverse_std, c, i), offset[i], slope[i]};
        },
        [&](int64_t i, const InputGradient& gradient) {
          const float input = x[origin + i];
          const bool passes = !relu_beta || gradient.affine(input) > 0;
          grad_x[origin + i] = gradient(input, passes ? grad_y[origin + i] : 0.0f);
        });
  }
}

// Grid: see for_each_sample.
__global__ void __launch_bounds__(block_threads)
    sample_gradients_kernel(int64_t samples, int64_t group_samples, int64_t positions, int64_t channels, int width,
                            const float* x, const float* mean, const float* inverse_std, const float* grad_y,
                            float* sums, float* products) {
  for_each_sample<2>(
      samples, positions, channels, width,
      [&](int64_t n, int64_t channel, int64_t i, float(&terms)[2]) {
        terms[0] += grad_y[i];
        terms[1] += grad_y[i] * (x[i] - mean[n / group_samples * channels + channel]);
      },
      [&](int64_t n, int64_t channel, const float(&terms)[2]) {
        sums[n * channels + channel] = terms[0];
        products[n * channels + channel] = terms[1] * inverse_std[n / group_samples * channels + channel];
      });
}

// Grid over channel tiles and blocks of `units` rows or samples of each group.
struct GroupGrid {
  int width;
  int64_t blocks;
  dim3 grid;

  GroupGrid(const BatchNormShape& shape, int64_t units, int64_t elements_per_unit)
      : width(channel_width(shape.channels)),
        blocks(std::clamp<int64_t>(units * elements_per_unit / block_elements, 1, std::min<int64_t>(units, 65535))),
        grid(static_cast<unsigned>(divide_up(shape.channels, width)), static_cast<unsigned>(blocks),
             static_cast<unsigned>(shape.groups())) {
    NSGD_CHECK(shape.groups() <= 65535, "batch norm: {} groups, at most 65535 on a CUDA device", shape.groups());
  }
};

dim3 group_channel_grid(const BatchNormShape& shape) {
  const unsigned blocks = channel_grid(shape.group * shape.positions, shape.channels);
  return dim3(blocks, sample_grid(shape.groups(), blocks));
}

}  // namespace

void batch_norm_forward(Queue& queue, const BatchNormShape& shape, float epsilon, float momentum, const float* x,
                        const float* gamma, const float* beta, const BatchNormTail& tail, float* running_mean,
                        float* running_variance, float* mean, float* inverse_std, float* y) {
  check(shape);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
  NSGD_CHECK(rows > 1, "batch norm: a group of {} sample with 1 position has no variance", shape.group);
  const GroupGrid blocks(shape, rows, channel_width(channels));
  ScratchLayout layout;
  const auto block_mean = layout.add<double>(groups * blocks.blocks * channels);
  const auto block_m2 = layout.add<double>(groups * blocks.blocks * channels);
  const auto variance = layout.add<float>(groups * channels);
  void* scratch = queue.workspace(layout.bytes());
  launch(queue, group_statistics_kernel, blocks.grid, block_threads, 0, rows, channels, blocks.width, x,
         block_mean.in(scratch), block_m2.in(scratch));
  launch(queue, merge_statistics_kernel, grid_size(groups * channels), block_threads, 0, groups, blocks.blocks, rows,
         channels, epsilon, block_mean.in(scratch), block_m2.in(scratch), mean, inverse_std, variance.in(scratch));
  launch(queue, running_statistics_kernel, grid_size(channels), block_threads, 0, groups, channels, momentum, mean,
         variance.in(scratch), running_mean, running_variance);
  launch(queue, normalise_kernel, group_channel_grid(shape), block_threads, 0, groups, rows, channels, x, gamma, beta,
         mean, inverse_std, tail, y);
}

void batch_norm_inference(Queue& queue, int64_t rows, int64_t channels, float epsilon, const float* x,
                          const float* gamma, const float* beta, const float* running_mean,
                          const float* running_variance, const BatchNormTail& tail, float* y) {
  if (rows == 0 || channels == 0) return;
  launch(queue, normalise_running_kernel, channel_grid(rows, channels), block_threads, 0, rows, channels, epsilon, x,
         gamma, beta, running_mean, running_variance, tail, y);
}

void batch_norm_backward(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma,
                         const float* relu_beta, const float* mean, const float* inverse_std, const float* grad_y,
                         float* grad_gamma, float* grad_beta, float* gamma_second_moment, float* beta_second_moment,
                         float* grad_x) {
  check(shape);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
  const GroupGrid blocks(shape, shape.group, shape.positions * channel_width(channels));
  ScratchLayout layout;
  const auto block_sums = layout.add<double>(groups * blocks.blocks * sums_per_channel * channels);
  const auto offset = layout.add<float>(groups * channels);
  const auto slope = layout.add<float>(groups * channels);
  void* scratch = queue.workspace(layout.bytes());
  launch(queue, gradient_sums_kernel, blocks.grid, block_threads, 0, shape.group, shape.positions, channels,
         blocks.width, x, gamma, relu_beta, mean, inverse_std, grad_y, block_sums.in(scratch));
  launch(queue, merge_gradient_sums_kernel, grid_size(groups * channels), block_threads, 0, groups, blocks.blocks, rows,
         channels, inverse_std, block_sums.in(scratch), offset.in(scratch), slope.in(scratch));
  launch(queue, accumulate_gradients_kernel, grid_size(channels), block_threads, 0, groups, blocks.blocks, channels,
         block_sums.in(scratch), grad_gamma, grad_beta, gamma_second_moment, beta_second_moment);
  launch(queue, input_gradient_kernel, group_channel_grid(shape), block_threads, 0, groups, rows, channels, x, gamma,
         relu_beta, mean, inverse_std, offset.in(scratch), slope.in(scratch), grad_y, grad_x);
}

void batch_norm_normalised(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma,
                           const float* beta, const float* mean, const float* inverse_std, float* y) {
  check(shape);
  if (shape.samples == 0) return;
  launch(queue, normalise_kernel, group_channel_grid(shape), block_threads, 0, shape.groups(),
         shape.group * shape.positions, shape.channels, x, gamma, beta, mean, inverse_std, BatchNormTail{}, y);
}

void batch_norm_sample_gradients(Queue& queue, const BatchNormShape& shape, const float* x, const float* mean,
                                 const float* inverse_std, const float* grad_y, float* sums, float* products) {
  check(shape);
  if (shape.samples == 0) return;
  launch(queue, sample_gradients_kernel, sample_channel_grid(shape.samples, shape.channels), block_threads, 0,
         shape.samples, shape.group, shape.positions, shape.channels, channel_width(shape.channels), x, mean,
         inverse_std, grad_y, sums, products);
}

}  // namespace noisysgd::kernels::cuda
