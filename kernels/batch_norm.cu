#include <noisysgd/kernels/batch_norm.h>

#include <noisysgd/kernels/cuda/batch_norm_tile.h>
#include <noisysgd/kernels/scratch.h>

// The statistics of a ghost group are merged from those of blocks of rows. The rows of a block are read once and kept
// in registers for its mean and then its sum of squared deviations from that mean. The last block of a group to finish
// merges all blocks of the group in double precision, in a fixed order (Chan, Golub, LeVeque 1983).
namespace noisysgd::kernels::cuda {
namespace {

constexpr int values_per_thread = 32;  // values of x that a thread keeps in registers

struct Moments {
  double mean = 0, m2 = 0;  // m2: the sum of squared deviations from the mean
};

// The mean and the squared deviations from it of `rows` rows, at most values_per_thread / vector for each row of
// threads. `from` is the first row, at this thread's channels. The result is valid in the threads that have a channel
// of the tile to themselves (threadIdx.x < width * vector).
template <int vector, class T>
__device__ Moments block_moments(const Tile<vector>& tile, int64_t rows, int64_t channels, int width, const T* from) {
  constexpr int rows_per_thread = values_per_thread / vector;
  GPU_SHARED(float, warp_sums, [warps_per_block][2][max_tile]);
  GPU_SHARED(float, tile_mean, [max_tile]);
  const auto count = static_cast<double>(min(int64_t{rows_per_thread} * tile.row_step, rows));
  const int64_t last = tile.in_range ? rows : 0;  // no rows for threads beyond the channels

  Elements<T, vector> values[rows_per_thread];
#pragma unroll
  for (int r = 0; r < rows_per_thread; ++r) {
    const int64_t row = tile.row + int64_t{r} * tile.row_step;
    if (row < last) values[r] = load_elements<vector>(from + row * channels);
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
  if (!owner) return {};
  const double deviation = sum_warps(warp_sums, 0), squares = sum_warps(warp_sums, 1);
  return {tile_mean[threadIdx.x] + deviation / count, fmax(0.0, squares - deviation * deviation / count)};
}

// Every block of a group covers rows_per_block rows, the last one the rest.
struct BlockMoments {
  int64_t blocks, rows_per_block;
  double *mean, *m2;  // [groups,blocks,C]
};

struct GroupStatistics {
  float epsilon;
  float *mean, *inverse_std, *variance;  // [groups,C]; variance: unbiased
};

// Merges the blocks of a group for a tile of `width` channels, in one sweep: the sums are of differences from the first
// block's mean, which costs no digits of a double unless the blocks' means differ by very many deviations.
__device__ void merge_blocks(int64_t group, int64_t rows, int64_t channels, int width, const BlockMoments& moments,
                             const GroupStatistics& statistics) {
  const Tile<1> tile(channels, width, blockIdx.y);
  const int64_t from = group * moments.blocks * channels + tile.column;
  const double origin = tile.in_range ? moments.mean[from] : 0;
  double sums[2] = {};
  if (tile.in_range)
#pragma unroll 8
    for (int64_t b = tile.row; b < moments.blocks; b += tile.row_step) {
      const auto count = static_cast<double>(min(moments.rows_per_block, rows - b * moments.rows_per_block));
      const double difference = moments.mean[from + b * channels] - origin;
      sums[0] += count * difference;
      sums[1] += moments.m2[from + b * channels] + count * difference * difference;
    }
  sum_columns(sums, width);
  if (tile.row > 0 || !tile.in_range) return;
  const auto count = static_cast<double>(rows);
  double m2 = sums[1] - sums[0] * sums[0] / count;
  if (m2 < 0) m2 = 0;
  const int64_t i = group * channels + tile.column;
  statistics.mean[i] = static_cast<float>(origin + sums[0] / count);
  statistics.inverse_std[i] = static_cast<float>(1.0 / sqrt(m2 / count + statistics.epsilon));
  statistics.variance[i] = static_cast<float>(m2 / (count - 1));
}

// Grid: blocks of a group, channel tiles, groups from first_group on.
template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    group_statistics_kernel(int64_t first_group, int64_t rows, int64_t channels, int width, const T* x,
                            BlockMoments moments, unsigned* counters, GroupStatistics statistics) {
  const Tile<vector> tile(channels, width, blockIdx.y);
  const int64_t group = first_group + blockIdx.z, row = blockIdx.x * moments.rows_per_block;
  const Moments block =
      block_moments(tile, rows - row, channels, width, x + (group * rows + row) * channels + tile.column);
  const int64_t channel = int64_t{blockIdx.y} * width * vector + threadIdx.x;
  if (threadIdx.x < static_cast<unsigned>(width * vector) && channel < channels) {
    const int64_t place = (group * moments.blocks + blockIdx.x) * channels + channel;
    moments.mean[place] = block.mean;
    moments.m2[place] = block.m2;
  }
  if (is_last_block(counters + blockIdx.z * gridDim.y + blockIdx.y, gridDim.x))
    merge_blocks(group, rows, channels, width * vector, moments, statistics);
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

// BatchNormEpilogue with elements of T.
template <class T>
struct Epilogue {
  const T* addend;
  bool relu;
};

// Writes y at `vector` elements from i on. NaN stays NaN.
template <int vector, class T>
__device__ void write_normalised(const Affines<vector>& affines, const Epilogue<T>& epilogue, const T* x, T* y,
                                 int64_t i) {
  const auto inputs = load_elements<vector>(x + i);
  Elements<T, vector> addend{};
  if (epilogue.addend) addend = load_elements<vector>(epilogue.addend + i);
  FloatVector<vector> values;
  for (int v = 0; v < vector; ++v) {
    float value = affines.channel[v](inputs[v]);
    if (epilogue.addend) value += addend[v];
    values[v] = epilogue.relu && value < 0 ? 0.0f : value;
  }
  store_elements(y + i, values);
}

// Second grid dimension: groups. A null gamma means 1, a null beta 0. The first blocks also update the running
// statistics: that takes as long as a separate launch would, but here it overlaps with the other blocks.
template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    normalise_kernel(int64_t groups, int64_t rows, int64_t channels, const T* x, const float* gamma, const float* beta,
                     const float* mean, const float* inverse_std, Epilogue<T> epilogue, RunningStatistics running,
                     T* y) {
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
                             Epilogue<float> epilogue, float* y) {
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

template <class T>
void normalise(Queue& queue, const BatchNormShape& shape, const T* x, const float* gamma, const float* beta,
               const float* mean, const float* inverse_std, const Epilogue<T>& epilogue,
               const RunningStatistics& running, T* y) {
  constexpr int width = vector_width<T>;
  with_width<width>(shape.channels % width == 0 && aligned_elements<width>(x, epilogue.addend, y), [&](auto v) {
    launch(queue, normalise_kernel<v, T>, group_channel_grid(shape, v), block_threads, 0, shape.groups(),
           shape.group * shape.positions, shape.channels, x, gamma, beta, mean, inverse_std, epilogue, running, y);
  });
}

template <class T>
void normalise_by_batch(Queue& queue, const BatchNormShape& shape, const BatchNormForward& arrays, const T* x, T* y) {
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
  NSGD_CHECK(rows > 1, "batch norm: a group of {} sample with 1 position has no variance", shape.group);
  constexpr int width = vector_width<T>;
  const bool by_vectors = channels % width == 0 && aligned_elements<width>(x);
  const int vector = by_vectors ? width : 1;
  const GroupGrid grid(shape, vector);
  const int64_t rows_per_block = int64_t{block_threads / grid.width} * (values_per_thread / vector);
  const int64_t blocks = divide_up(rows, rows_per_block);
  Scratch scratch(queue);
  const auto [block_mean, block_m2, variance] =
      scratch.take<double, double, float>(groups * blocks * channels, groups * blocks * channels, groups * channels);
  const BlockMoments moments{blocks, rows_per_block, block_mean, block_m2};
  const GroupStatistics statistics{arrays.epsilon, arrays.mean, arrays.inverse_std, variance};
  unsigned* const counters = queue.cuda().counters(grid.counters());
  grid.for_each_launch(blocks, [&](int64_t first, dim3 size) {
    with_width<width>(by_vectors, [&](auto v) {
      launch(queue, group_statistics_kernel<v, T>, size, block_threads, 0, first, rows, channels, grid.width, x,
             moments, counters, statistics);
    });
  });
  const Epilogue<T> epilogue{array_of<T>("batch_norm_forward", arrays.epilogue.addend), arrays.epilogue.relu};
  normalise(queue, shape, x, arrays.gamma, arrays.beta, arrays.mean, arrays.inverse_std, epilogue,
            {arrays.momentum, variance, arrays.running_mean, arrays.running_variance}, y);
}

}  // namespace

void batch_norm_forward(Queue& queue, const BatchNormShape& shape, const BatchNormForward& arrays, ConstValues x,
                        Values y) {
  check(shape);
  if (shape.samples == 0) return;
  with_stored_types("batch_norm_forward", x.type, [&]<class Types>(Types) {
    using T = typename Types::Value;
    normalise_by_batch(queue, shape, arrays, array_of<T>("batch_norm_forward", x),
                       array_of<T>("batch_norm_forward", y));
  });
}

void batch_norm_inference(Queue& queue, const BatchNormInference& arrays, const float* x, float* y) {
  const int64_t rows = arrays.rows, channels = arrays.channels;
  if (rows == 0 || channels == 0) return;
  const Epilogue<float> epilogue{arrays.epilogue.addend.f32("batch_norm_inference"), arrays.epilogue.relu};
  constexpr int width = vector_width<float>;
  with_width<width>(channels % width == 0 && aligned_elements<width>(x, epilogue.addend, y), [&](auto v) {
    launch(queue, normalise_running_kernel<v>, channel_grid(rows, channels / v), block_threads, 0, rows, channels,
           arrays.epsilon, x, arrays.gamma, arrays.beta, arrays.running_mean, arrays.running_variance, epilogue, y);
  });
}

void batch_norm_normalised(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma,
                           const float* beta, const float* mean, const float* inverse_std, float* y) {
  check(shape);
  if (shape.samples == 0) return;
  normalise(queue, shape, x, gamma, beta, mean, inverse_std, Epilogue<float>{}, RunningStatistics{}, y);
}

}  // namespace noisysgd::kernels::cuda
