#include "kernels/batch_norm.h"

#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/sample_sums.h"
#include "kernels/cuda/vector.h"
#include "kernels/scratch.h"

// The statistics of a ghost group are made of those of blocks of rows, which are read once and kept in registers: mean,
// then sum of squared deviations from it. Blocks are merged in double precision, in a fixed order (Chan, Golub, LeVeque
// 1983). Where channels and addresses allow it, threads move four channels at a time (`vector`).
namespace noisysgd::kernels::cuda {
namespace {

constexpr int max_tile = 4 * warp_lanes;       // channels that a block covers at most
constexpr int values_per_thread = 32;          // of x, in registers, in the statistics of one block
constexpr int64_t sample_chunk = 4 * 4 * 256;  // elements of a sample from which on a whole block sums it, not a warp

// The balanced partition of [0,total) into `parts`: part i begins here and ends where part i+1 begins.
__device__ int64_t part_begin(int64_t i, int64_t parts, int64_t total) { return i * total / parts; }

// How a block of threads covers rows of a tile of `width` vectors of channels: width is a power of two, at most 32.
template <int vector, int threads = block_threads>
struct Tile {
  int64_t column;  // this thread's first channel
  int row, row_step;
  bool in_range;

  __device__ Tile(int64_t channels, int width, unsigned tile)
      : column((int64_t{tile} * width + threadIdx.x % static_cast<unsigned>(width)) * vector),
        row(static_cast<int>(threadIdx.x) / width),
        row_step(threads / width),
        in_range(column < channels) {}
};

// Puts the sums of each warp's lanes of one column into warp_sums[warp][term][channel of the tile]. Ends with a
// barrier.
template <int vector, int terms>
__device__ void share_warp_sums(float (&sums)[terms][vector], int width, float (*warp_sums)[terms][max_tile]) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, warp = static_cast<int>(threadIdx.x) / warp_lanes;
  for (int term = 0; term < terms; ++term)
    for (int v = 0; v < vector; ++v) {
      const float sum = sum_lanes(sums[term][v], width);
      if (lane < width) warp_sums[warp][term][lane * vector + v] = sum;
    }
  __syncthreads();
}

template <int terms>
__device__ double sum_warps(const float (*warp_sums)[terms][max_tile], int term) {
  double sum = 0;
  for (int warp = 0; warp < warps_per_block; ++warp) sum += warp_sums[warp][term][threadIdx.x];
  return sum;
}

// Grid: blocks of a group, channel tiles, groups. block_mean, block_m2 [groups,blocks,C].
template <int vector>
__global__ void __launch_bounds__(block_threads)
    group_statistics_kernel(int64_t rows, int64_t channels, int width, const float* x, double* block_mean,
                            double* block_m2) {
  constexpr int rows_per_thread = values_per_thread / vector;
  GPU_SHARED(float, warp_sums, [warps_per_block][2][max_tile]);
  GPU_SHARED(float, tile_mean, [max_tile]);
  const Tile<vector> tile(channels, width, blockIdx.y);
  const int64_t blocks = gridDim.x, group = blockIdx.z, first = int64_t{blockIdx.x} * rows_per_thread * tile.row_step;
  const auto count = static_cast<double>(min(int64_t{rows_per_thread} * tile.row_step, rows - first));
  const float* from = x + (group * rows + first) * channels + tile.column;
  const int64_t last = tile.in_range ? rows - first : 0;  // no rows for threads beyond the channels

  FloatVector<vector> values[rows_per_thread];
#pragma unroll
  for (int r = 0; r < rows_per_thread; ++r) {
    const int64_t row = tile.row + int64_t{r} * tile.row_step;
    if (row < last) values[r] = load_vector<vector>(from + row * channels);
  }
  float sums[2][vector] = {};
#pragma unroll
  for (int r = 0; r < rows_per_thread; ++r)
    if (tile.row + int64_t{r} * tile.row_step < last)
      for (int v = 0; v < vector; ++v) sums[0][v] += values[r][v];
  share_warp_sums(sums, width, warp_sums);
  const bool owner = threadIdx.x < static_cast<unsigned>(width * vector);  // of one channel of the tile
  if (owner) tile_mean[threadIdx.x] = static_cast<float>(sum_warps(warp_sums, 0) / count);
  __syncthreads();

  const int lane_column = static_cast<int>(threadIdx.x) % width * vector;
  float deviations[2][vector] = {};  // their sum, which corrects the rounding of the mean, and that of their squares
#pragma unroll
  for (int r = 0; r < rows_per_thread; ++r)
    if (tile.row + int64_t{r} * tile.row_step < last)
      for (int v = 0; v < vector; ++v) {
        const float deviation = values[r][v] - tile_mean[lane_column + v];
        deviations[0][v] += deviation;
        deviations[1][v] += deviation * deviation;
      }
  share_warp_sums(deviations, width, warp_sums);
  const int64_t channel = int64_t{blockIdx.y} * width * vector + threadIdx.x;
  if (!owner || channel >= channels) return;
  const double deviation = sum_warps(warp_sums, 0), squares = sum_warps(warp_sums, 1);
  const int64_t place = (group * blocks + blockIdx.x) * channels + channel;
  block_mean[place] = tile_mean[threadIdx.x] + deviation / count;
  block_m2[place] = fmax(0.0, squares - deviation * deviation / count);
}

// The sums over the threads of the block that agree modulo `width` (at most 32), in every thread. Ends with a barrier.
template <int threads = block_threads, int terms>
__device__ void sum_columns(double (&values)[terms], int width) {
  GPU_SHARED(double, warp_sums, [threads / warp_lanes][terms][warp_lanes]);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, warp = static_cast<int>(threadIdx.x) / warp_lanes;
  for (int term = 0; term < terms; ++term) warp_sums[warp][term][lane] = sum_lanes(values[term], width);
  __syncthreads();
  for (int term = 0; term < terms; ++term) {
    values[term] = 0;
    for (int i = 0; i < threads / warp_lanes; ++i) values[term] += warp_sums[i][term][lane];
  }
  __syncthreads();
}

constexpr int merging_threads = 1024;  // so that hundreds of blocks are merged in a few steps

// Grid: channel tiles, groups. rows_per_block: all blocks but the last have so many. variance [groups,C]: unbiased
__global__ void __launch_bounds__(merging_threads)
    merge_statistics_kernel(int64_t blocks, int64_t rows_per_block, int64_t rows, int64_t channels, int width,
                            float epsilon, const double* block_mean, const double* block_m2, float* mean,
                            float* inverse_std, float* variance) {
  const Tile<1, merging_threads> tile(channels, width, blockIdx.x);
  const int64_t group = blockIdx.y, from = group * blocks * channels + tile.column;
  const auto weight = [&](int64_t b) { return static_cast<double>(min(rows_per_block, rows - b * rows_per_block)); };
  double sum[1] = {};
  if (tile.in_range)
#pragma unroll 4
    for (int64_t b = tile.row; b < blocks; b += tile.row_step) sum[0] += weight(b) * block_mean[from + b * channels];
  sum_columns<merging_threads>(sum, width);
  const double merged_mean = sum[0] / static_cast<double>(rows);
  double m2[1] = {};
  if (tile.in_range)
#pragma unroll 4
    for (int64_t b = tile.row; b < blocks; b += tile.row_step) {
      const double difference = block_mean[from + b * channels] - merged_mean;
      m2[0] += block_m2[from + b * channels] + weight(b) * difference * difference;
    }
  sum_columns<merging_threads>(m2, width);
  if (tile.row > 0 || !tile.in_range) return;
  const int64_t i = group * channels + tile.column;
  mean[i] = static_cast<float>(merged_mean);
  inverse_std[i] = static_cast<float>(1.0 / sqrt(m2[0] / static_cast<double>(rows) + epsilon));
  variance[i] = static_cast<float>(m2[0] / static_cast<double>(rows - 1));
}

struct RunningStatistics {
  float momentum;
  const float* variance;    // of this batch [groups,C]
  float *mean, *variances;  // [C], to be moved; null: none
};

// One group after the other moves the running statistics of this thread's channels.
__device__ void move_running(const RunningStatistics& running, int64_t groups, int64_t channels, const float* mean) {
  grid_stride(channels, [&](int64_t c) {
    float m = running.mean[c], v = running.variances[c];
#pragma unroll 8
    for (int64_t group = 0; group < groups; ++group) {
      m = (1 - running.momentum) * m + running.momentum * mean[group * channels + c];
      v = (1 - running.momentum) * v + running.momentum * running.variance[group * channels + c];
    }
    running.mean[c] = m;
    running.variances[c] = v;
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

template <int vector>
struct Affines {
  Affine channel[vector];
};

// y at `vector` elements from i on. NaN stays NaN.
template <int vector>
__device__ void write_normalised(const Affines<vector>& affines, const BatchNormTail& tail, const float* x, float* y,
                                 int64_t i) {
  FloatVector<vector> values = load_vector<vector>(x + i), addend{};
  if (tail.addend) addend = load_vector<vector>(tail.addend + i);
  for (int v = 0; v < vector; ++v) {
    float value = affines.channel[v](values[v]);
    if (tail.addend) value += addend[v];
    values[v] = tail.relu && value < 0 ? 0.0f : value;
  }
  store_vector(y + i, values);
}

// Second grid dimension: groups. gamma and beta null: 1 and 0. The first blocks move the running statistics on the way:
// that takes as long as a launch of its own would, and is hidden here.
template <int vector>
__global__ void __launch_bounds__(block_threads)
    normalise_kernel(int64_t groups, int64_t rows, int64_t channels, const float* x, const float* gamma,
                     const float* beta, const float* mean, const float* inverse_std, BatchNormTail tail,
                     RunningStatistics running, float* y) {
  if (running.mean && blockIdx.y == 0) move_running(running, groups, channels, mean);
  for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
    const int64_t origin = group * rows * channels;
    channel_stride(
        rows, channels / vector,
        [&](int64_t column) {
          Affines<vector> affines;
          for (int v = 0; v < vector; ++v) {
            const int64_t c = column * vector + v;
            affines.channel[v] = affine_of(gamma, beta, mean, inverse_std, c, group * channels + c);
          }
          return affines;
        },
        [&](int64_t i, const Affines<vector>& affines) { write_normalised(affines, tail, x, y, origin + i * vector); });
  }
}

template <int vector>
__global__ void __launch_bounds__(block_threads)
    normalise_running_kernel(int64_t rows, int64_t channels, float epsilon, const float* x, const float* gamma,
                             const float* beta, const float* running_mean, const float* running_variance,
                             BatchNormTail tail, float* y) {
  channel_stride(
      rows, channels / vector,
      [&](int64_t column) {
        Affines<vector> affines;
        for (int v = 0; v < vector; ++v) {
          const int64_t c = column * vector + v;
          const double deviation = sqrt(double{running_variance[c]} + epsilon);
          affines.channel[v] = {running_mean[c], static_cast<float>(gamma[c] / deviation), beta[c]};
        }
        return affines;
      },
      [&](int64_t i, const Affines<vector>& affines) { write_normalised(affines, tail, x, y, i * vector); });
}

// Per channel and block of samples: sum of grad_y and of grad_y (x - mean), and of their squares sample by sample.
enum { sum_grad, squared_grad, sum_product, squared_product, sums_per_channel };

// Grid: blocks of a group, channel tiles, groups. block_sums [groups,blocks,4,C]. A sample is summed by `team` warps, 1
// or all of the block.
template <int vector>
__global__ void __launch_bounds__(block_threads)
    gradient_sums_kernel(int64_t group_samples, int64_t positions, int64_t channels, int width, int team,
                         const float* x, const float* gamma, const float* relu_beta, const float* mean,
                         const float* inverse_std, const float* grad_y, double* block_sums) {
  GPU_SHARED(float, warp_sums, [warps_per_block][2][max_tile]);
  const Tile<vector> tile(channels, width, blockIdx.y);
  const int64_t blocks = gridDim.x, group = blockIdx.z;
  const int warp = static_cast<int>(threadIdx.x) / warp_lanes, team_rows = team * warp_lanes / width;
  const int row = tile.row % team_rows, samples_at_once = warps_per_block / team;
  Affines<vector> affines{};
  if (tile.in_range)
    for (int v = 0; v < vector; ++v) {
      const int64_t c = tile.column + v;
      affines.channel[v] = affine_of(gamma, relu_beta, mean, inverse_std, c, group * channels + c);
    }
  const int64_t last = part_begin(blockIdx.x + 1, blocks, group_samples);
  const bool owner = threadIdx.x < static_cast<unsigned>(width * vector);  // of one channel of the tile
  double totals[sums_per_channel] = {};
  for (int64_t sample = part_begin(blockIdx.x, blocks, group_samples); sample < last; sample += samples_at_once) {
    const int64_t n = sample + warp / team, origin = (group * group_samples + n) * positions * channels + tile.column;
    float sums[2][vector] = {};
    if (tile.in_range && n < last)
#pragma unroll 4
      for (int64_t t = row; t < positions; t += team_rows) {
        const auto inputs = load_vector<vector>(x + origin + t * channels),
                   grads = load_vector<vector>(grad_y + origin + t * channels);
        for (int v = 0; v < vector; ++v) {
          const Affine& affine = affines.channel[v];
          const float grad = relu_beta && !(affine(inputs[v]) > 0) ? 0.0f : grads[v];
          sums[0][v] += grad;
          sums[1][v] += grad * (inputs[v] - affine.mean);
        }
      }
    share_warp_sums(sums, width, warp_sums);
    if (owner)
      for (int first = 0; first < warps_per_block; first += team)
        for (int term = 0; term < 2; ++term) {
          double sum = 0;
          for (int i = first; i < first + team; ++i) sum += warp_sums[i][term][threadIdx.x];
          totals[2 * term] += sum;
          totals[2 * term + 1] += sum * sum;
        }
    __syncthreads();
  }
  const int64_t channel = int64_t{blockIdx.y} * width * vector + threadIdx.x;
  if (!owner || channel >= channels) return;
  double* to = block_sums + (group * blocks + blockIdx.x) * sums_per_channel * channels + channel;
  for (int sum = 0; sum < sums_per_channel; ++sum) to[sum * channels] = totals[sum];
}

// The sums over `count` rows of sums [count,4,C], in every thread of the block. Grid: channel tiles.
__device__ void sum_rows(const Tile<1>& tile, int64_t count, int64_t channels, int width, const double* sums,
                         double (&totals)[sums_per_channel]) {
  for (double& total : totals) total = 0;
  if (tile.in_range)
#pragma unroll 2
    for (int64_t b = tile.row; b < count; b += tile.row_step)
      for (int sum = 0; sum < sums_per_channel; ++sum)
        totals[sum] += sums[(b * sums_per_channel + sum) * channels + tile.column];
  sum_columns(totals, width);
}

// Grid: channel tiles, groups. group_sums [groups,4,C]: over the blocks, those with x - mean scaled to xhat; offset,
// slope [groups,C] are what grad_x subtracts.
__global__ void __launch_bounds__(block_threads)
    merge_gradient_sums_kernel(int64_t blocks, int64_t rows, int64_t channels, int width, const float* inverse_std,
                               const double* block_sums, double* group_sums, float* offset, float* slope) {
  const Tile<1> tile(channels, width, blockIdx.x);
  const int64_t group = blockIdx.y, i = group * channels + tile.column;
  double totals[sums_per_channel];
  sum_rows(tile, blocks, channels, width, block_sums + group * blocks * sums_per_channel * channels, totals);
  if (tile.row > 0 || !tile.in_range) return;
  const double inverse = inverse_std[i];
  totals[sum_product] *= inverse;
  totals[squared_product] *= inverse * inverse;
  for (int sum = 0; sum < sums_per_channel; ++sum)
    group_sums[(group * sums_per_channel + sum) * channels + tile.column] = totals[sum];
  offset[i] = static_cast<float>(totals[sum_grad] / static_cast<double>(rows));
  slope[i] = static_cast<float>(totals[sum_product] / static_cast<double>(rows) * inverse);
}

// Grid: channel tiles.
__global__ void __launch_bounds__(block_threads)
    accumulate_gradients_kernel(int64_t groups, int64_t channels, int width, const double* group_sums,
                                float* grad_gamma, float* grad_beta, float* gamma_second_moment,
                                float* beta_second_moment) {
  const Tile<1> tile(channels, width, blockIdx.x);
  double totals[sums_per_channel];
  sum_rows(tile, groups, channels, width, group_sums, totals);
  if (tile.row > 0 || !tile.in_range) return;
  const int64_t c = tile.column;
  grad_gamma[c] += static_cast<float>(totals[sum_product]);
  grad_beta[c] += static_cast<float>(totals[sum_grad]);
  if (gamma_second_moment) gamma_second_moment[c] += static_cast<float>(totals[squared_product]);
  if (beta_second_moment) beta_second_moment[c] += static_cast<float>(totals[squared_grad]);
}

template <int vector>
struct InputGradients {
  Affines<vector> affines;
  float offset[vector], slope[vector];
};

// Second grid dimension: groups.
template <int vector>
__global__ void __launch_bounds__(block_threads)
    input_gradient_kernel(int64_t groups, int64_t rows, int64_t channels, const float* x, const float* gamma,
                          const float* relu_beta, const float* mean, const float* inverse_std, const float* offset,
                          const float* slope, const float* grad_y, float* grad_x) {
  for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
    const int64_t origin = group * rows * channels;
    channel_stride(
        rows, channels / vector,
        [&](int64_t column) {
          InputGradients<vector> gradients;
          for (int v = 0; v < vector; ++v) {
            const int64_t c = column * vector + v, i = group * channels + c;
            gradients.affines.channel[v] = affine_of(gamma, relu_beta, mean, inverse_std, c, i);
            gradients.offset[v] = offset[i];
            gradients.slope[v] = slope[i];
          }
          return gradients;
        },
        [&](int64_t i, const InputGradients<vector>& gradients) {
          const auto inputs = load_vector<vector>(x + origin + i * vector);
          auto grads = load_vector<vector>(grad_y + origin + i * vector);
          for (int v = 0; v < vector; ++v) {
            const Affine& affine = gradients.affines.channel[v];
            const float grad = relu_beta && !(affine(inputs[v]) > 0) ? 0.0f : grads[v];
            grads[v] = affine.scale * (grad - gradients.offset[v] - (inputs[v] - affine.mean) * gradients.slope[v]);
          }
          store_vector(grad_x + origin + i * vector, grads);
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

// Four channels at a time if they divide the channels and every address, else one.
int vector_of(int64_t channels, std::initializer_list<const float*> addresses) {
  return channels % 4 == 0 && std::ranges::all_of(addresses, aligned_vector<4>) ? 4 : 1;
}

// body(std::integral_constant<int, vector>)
template <class Body>
void with_vector(int vector, const Body& body) {
  vector == 4 ? body(std::integral_constant<int, 4>{}) : body(std::integral_constant<int, 1>{});
}

// Blocks of a group, channel tiles of `width` vectors, groups.
struct GroupGrid {
  int width;
  int64_t tiles, groups;

  GroupGrid(const BatchNormShape& shape, int vector)
      : width(channel_width(shape.channels / vector)),
        tiles(divide_up(shape.channels, int64_t{width} * vector)),
        groups(shape.groups()) {
    NSGD_CHECK(groups <= 65535, "batch norm: {} groups, at most 65535 on a CUDA device", groups);
  }
  dim3 of(int64_t blocks) const {
    return dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(tiles), static_cast<unsigned>(groups));
  }
  dim3 merging() const { return dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(groups)); }
};

dim3 group_channel_grid(const BatchNormShape& shape, int vector) {
  const unsigned blocks = channel_grid(shape.group * shape.positions, shape.channels / vector);
  return dim3(blocks, sample_grid(shape.groups(), blocks));
}

void normalise(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma, const float* beta,
               const float* mean, const float* inverse_std, const BatchNormTail& tail, const RunningStatistics& running,
               float* y) {
  const int vector = vector_of(shape.channels, {x, tail.addend, y});
  with_vector(vector, [&](auto v) {
    launch(queue, normalise_kernel<v>, group_channel_grid(shape, v), block_threads, 0, shape.groups(),
           shape.group * shape.positions, shape.channels, x, gamma, beta, mean, inverse_std, tail, running, y);
  });
}

}  // namespace

void batch_norm_forward(Queue& queue, const BatchNormShape& shape, float epsilon, float momentum, const float* x,
                        const float* gamma, const float* beta, const BatchNormTail& tail, float* running_mean,
                        float* running_variance, float* mean, float* inverse_std, float* y) {
  check(shape);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
  NSGD_CHECK(rows > 1, "batch norm: a group of {} sample with 1 position has no variance", shape.group);
  const int vector = vector_of(channels, {x});
  const GroupGrid grid(shape, vector), merging(shape, 1);
  const int64_t rows_per_block = int64_t{block_threads / grid.width} * (values_per_thread / vector);
  const int64_t blocks = divide_up(rows, rows_per_block);
  ScratchLayout layout;
  const auto block_mean = layout.add<double>(groups * blocks * channels);
  const auto block_m2 = layout.add<double>(groups * blocks * channels);
  const auto variance = layout.add<float>(groups * channels);
  void* scratch = queue.workspace(layout.bytes());
  with_vector(vector, [&](auto v) {
    launch(queue, group_statistics_kernel<v>, grid.of(blocks), block_threads, 0, rows, channels, grid.width, x,
           block_mean.in(scratch), block_m2.in(scratch));
  });
  launch(queue, merge_statistics_kernel, merging.merging(), merging_threads, 0, blocks, rows_per_block, rows, channels,
         merging.width, epsilon, block_mean.in(scratch), block_m2.in(scratch), mean, inverse_std, variance.in(scratch));
  normalise(queue, shape, x, gamma, beta, mean, inverse_std, tail,
            {momentum, variance.in(scratch), running_mean, running_variance}, y);
}

void batch_norm_inference(Queue& queue, int64_t rows, int64_t channels, float epsilon, const float* x,
                          const float* gamma, const float* beta, const float* running_mean,
                          const float* running_variance, const BatchNormTail& tail, float* y) {
  if (rows == 0 || channels == 0) return;
  with_vector(vector_of(channels, {x, tail.addend, y}), [&](auto v) {
    launch(queue, normalise_running_kernel<v>, channel_grid(rows, channels / v), block_threads, 0, rows, channels,
           epsilon, x, gamma, beta, running_mean, running_variance, tail, y);
  });
}

void batch_norm_backward(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma,
                         const float* relu_beta, const float* mean, const float* inverse_std, const float* grad_y,
                         float* grad_gamma, float* grad_beta, float* gamma_second_moment, float* beta_second_moment,
                         float* grad_x) {
  check(shape);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
  const int vector = vector_of(channels, {x, grad_y, grad_x});
  const GroupGrid grid(shape, vector), merging(shape, 1);
  const int team = shape.positions * grid.width * vector >= sample_chunk ? warps_per_block : 1;
  const int64_t blocks =
      std::clamp<int64_t>(busy_blocks / (grid.tiles * groups), 1, divide_up(shape.group * team, warps_per_block));
  ScratchLayout layout;
  const auto block_sums = layout.add<double>(groups * blocks * sums_per_channel * channels);
  const auto group_sums = layout.add<double>(groups * sums_per_channel * channels);
  const auto offset = layout.add<float>(groups * channels);
  const auto slope = layout.add<float>(groups * channels);
  void* scratch = queue.workspace(layout.bytes());
  with_vector(vector, [&](auto v) {
    launch(queue, gradient_sums_kernel<v>, grid.of(blocks), block_threads, 0, shape.group, shape.positions, channels,
           grid.width, team, x, gamma, relu_beta, mean, inverse_std, grad_y, block_sums.in(scratch));
  });
  launch(queue, merge_gradient_sums_kernel, merging.merging(), block_threads, 0, blocks, rows, channels, merging.width,
         inverse_std, block_sums.in(scratch), group_sums.in(scratch), offset.in(scratch), slope.in(scratch));
  launch(queue, accumulate_gradients_kernel, dim3(static_cast<unsigned>(merging.tiles)), block_threads, 0, groups,
         channels, merging.width, group_sums.in(scratch), grad_gamma, grad_beta, gamma_second_moment,
         beta_second_moment);
  with_vector(vector, [&](auto v) {
    launch(queue, input_gradient_kernel<v>, group_channel_grid(shape, v), block_threads, 0, groups, rows, channels, x,
           gamma, relu_beta, mean, inverse_std, offset.in(scratch), slope.in(scratch), grad_y, grad_x);
  });
}

void batch_norm_normalised(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma,
                           const float* beta, const float* mean, const float* inverse_std, float* y) {
  check(shape);
  if (shape.samples == 0) return;
  normalise(queue, shape, x, gamma, beta, mean, inverse_std, BatchNormTail{}, RunningStatistics{}, y);
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
