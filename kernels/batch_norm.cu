#include <noisysgd/kernels/batch_norm.h>

#include <noisysgd/kernels/cuda/batch_norm_tile.h>
#include <noisysgd/kernels/scratch.h>

// The statistics of a ghost group are merged from those of blocks of rows. The rows of a block are read once and kept
// in registers for its mean and then its sum of squared deviations from that mean. Blocks are merged in double
// precision, in a fixed order (Chan, Golub, LeVeque 1983).
namespace noisysgd::kernels::cuda {
namespace {

constexpr int values_per_thread = 32;  // values of x that a thread keeps in registers

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
  float deviations[2][vector] = {};  // sum, which corrects the mean's rounding error, and sum of squares
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

// Grid: channel tiles, groups. rows_per_block: rows of every block but the last. variance [groups,C]: unbiased.
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
  float *mean, *variances;  // [C], to be updated; null: none
};

// Updates the running statistics of this thread's channels with one group after the other.
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

// Writes y at `vector` elements from i on. NaN stays NaN.
template <int vector>
__device__ void write_normalised(const Affines<vector>& affines, const BatchNormEpilogue& epilogue, const float* x,
                                 float* y, int64_t i) {
  FloatVector<vector> values = load_vector<vector>(x + i), addend{};
  if (epilogue.addend) addend = load_vector<vector>(epilogue.addend + i);
  for (int v = 0; v < vector; ++v) {
    float value = affines.channel[v](values[v]);
    if (epilogue.addend) value += addend[v];
    values[v] = epilogue.relu && value < 0 ? 0.0f : value;
  }
  store_vector(y + i, values);
}

// Second grid dimension: groups. A null gamma means 1, a null beta 0. The first blocks also update the running
// statistics: that takes as long as a separate launch would, but here it overlaps with the other blocks.
template <int vector>
__global__ void __launch_bounds__(block_threads)
    normalise_kernel(int64_t groups, int64_t rows, int64_t channels, const float* x, const float* gamma,
                     const float* beta, const float* mean, const float* inverse_std, BatchNormEpilogue epilogue,
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
        [&](int64_t i, const Affines<vector>& affines) {
          write_normalised(affines, epilogue, x, y, origin + i * vector);
        });
  }
}

template <int vector>
__global__ void __launch_bounds__(block_threads)
    normalise_running_kernel(int64_t rows, int64_t channels, float epsilon, const float* x, const float* gamma,
                             const float* beta, const float* running_mean, const float* running_variance,
                             BatchNormEpilogue epilogue, float* y) {
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
      [&](int64_t i, const Affines<vector>& affines) { write_normalised(affines, epilogue, x, y, i * vector); });
}

void normalise(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma, const float* beta,
               const float* mean, const float* inverse_std, const BatchNormEpilogue& epilogue,
               const RunningStatistics& running, float* y) {
  const int vector = vector_of(shape.channels, {x, epilogue.addend, y});
  with_vector(vector, [&](auto v) {
    launch(queue, normalise_kernel<v>, group_channel_grid(shape, v), block_threads, 0, shape.groups(),
           shape.group * shape.positions, shape.channels, x, gamma, beta, mean, inverse_std, epilogue, running, y);
  });
}

}  // namespace

void batch_norm_forward(Queue& queue, const BatchNormShape& shape, const BatchNormForward& arrays, const float* x,
                        float* y) {
  check(shape);
  if (shape.samples == 0) return;
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
  NSGD_CHECK(rows > 1, "batch norm: a group of {} sample with 1 position has no variance", shape.group);
  const int vector = vector_of(channels, {x});
  const GroupGrid grid(shape, vector), merging(shape, 1);
  const int64_t rows_per_block = int64_t{block_threads / grid.width} * (values_per_thread / vector);
  const int64_t blocks = divide_up(rows, rows_per_block);
  Scratch scratch(queue);
  const auto [block_mean, block_m2, variance] =
      scratch.take<double, double, float>(groups * blocks * channels, groups * blocks * channels, groups * channels);
  with_vector(vector, [&](auto v) {
    launch(queue, group_statistics_kernel<v>, grid.of(blocks), block_threads, 0, rows, channels, grid.width, x,
           block_mean, block_m2);
  });
  launch(queue, merge_statistics_kernel, merging.merging(), merging_threads, 0, blocks, rows_per_block, rows, channels,
         merging.width, arrays.epsilon, block_mean, block_m2, arrays.mean, arrays.inverse_std, variance);
  normalise(queue, shape, x, arrays.gamma, arrays.beta, arrays.mean, arrays.inverse_std, arrays.epilogue,
            {arrays.momentum, variance, arrays.running_mean, arrays.running_variance}, y);
}

void batch_norm_inference(Queue& queue, const BatchNormInference& arrays, const float* x, float* y) {
  const int64_t rows = arrays.rows, channels = arrays.channels;
  if (rows == 0 || channels == 0) return;
  with_vector(vector_of(channels, {x, arrays.epilogue.addend, y}), [&](auto v) {
    launch(queue, normalise_running_kernel<v>, channel_grid(rows, channels / v), block_threads, 0, rows, channels,
           arrays.epsilon, x, arrays.gamma, arrays.beta, arrays.running_mean, arrays.running_variance, arrays.epilogue,
           y);
  });
}

void batch_norm_normalised(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma,
                           const float* beta, const float* mean, const float* inverse_std, float* y) {
  check(shape);
  if (shape.samples == 0) return;
  normalise(queue, shape, x, gamma, beta, mean, inverse_std, BatchNormEpilogue{}, RunningStatistics{}, y);
}

}  // namespace noisysgd::kernels::cuda
