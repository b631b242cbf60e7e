// Batch normalisation in parts. The statistics of a ghost group are merged from those of blocks of rows. The rows of a
// block are read once and kept in registers for its mean and then its sum of squared deviations from that mean. The
// last block of a group to finish merges all blocks of the group in double precision, in a fixed order (Chan, Golub,
// LeVeque 1983).
#include <noisysgd/kernels/batch_norm_parts.h>

#include <noisysgd/kernels/cuda/batch_norm_merge.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int values_per_thread = 32;  // values of x that a thread keeps in registers

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

// Every block covers rows_per_block rows of a group, the last one the rest.
struct BlockMoments {
  int64_t blocks, rows_per_block;
  double *mean, *m2;  // [groups,blocks,C]
};

// Grid: blocks of a group, channel tiles, groups from first_group on.
template <int vector, class T>
__global__ void __launch_bounds__(block_threads)
    group_statistics_kernel(int64_t first_group, int64_t groups, int64_t rows, int64_t channels, int width, const T* x,
                            BlockMoments moments, unsigned* counters, StatisticsArrays statistics) {
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
  if (!is_last_block(counters + gridDim.y * (1 + blockIdx.z) + blockIdx.y, gridDim.x)) return;
  const Tile<1> merged(channels, width * vector, blockIdx.y);
  const ScaleAndShift parameters(merged, statistics);
  const int64_t from = group * moments.blocks * channels + merged.column;
  const Moments of_group = merge_moments(merged, moments.blocks, moments.rows_per_block, rows, channels, width * vector,
                                         moments.mean + from, moments.m2 + from);
  finish_statistics(merged, statistics, parameters, of_group, group, groups, rows, channels, counters + blockIdx.y);
}

// Grid: groups, channel tiles.
__global__ void __launch_bounds__(block_threads)
    merge_statistics_kernel(int64_t rows, int64_t channels, int width, BatchNormBlocks blocks, unsigned* counters,
                            StatisticsArrays statistics) {
  const Tile<1> tile(channels, width, blockIdx.y);
  const int64_t group = blockIdx.x, from = group * blocks.count * channels + tile.column;
  const ScaleAndShift parameters(tile, statistics);
  const Moments merged =
      merge_moments(tile, blocks.count, blocks.positions, rows, channels, width, blocks.mean + from, blocks.m2 + from);
  finish_statistics(tile, statistics, parameters, merged, group, gridDim.x, rows, channels, counters + blockIdx.y);
}

// This thread's share of the sums over `samples` samples of sums [samples,parts,C,2], from its channel on.
__device__ void add_samples(const Tile<1>& tile, int64_t samples, int64_t parts, int64_t channels, const float* sums,
                            double (&totals)[sums_per_channel]) {
  constexpr int samples_at_once = 4;
  for (int64_t first = tile.row; first < samples; first += int64_t{samples_at_once} * tile.row_step) {
    double terms[samples_at_once][2] = {};
#pragma unroll 2
    for (int64_t part = 0; part < parts; ++part)
#pragma unroll
      for (int s = 0; s < samples_at_once; ++s)
        if (const int64_t n = first + s * tile.row_step; n < samples) {
          const float* const from = sums + (n * parts + part) * channels * 2;
          terms[s][0] += from[0];
          terms[s][1] += from[1];
        }
#pragma unroll
    for (int s = 0; s < samples_at_once; ++s) {
      totals[sum_grad] += terms[s][0];
      totals[squared_grad] += terms[s][0] * terms[s][0];
      totals[sum_product] += terms[s][1];
      totals[squared_product] += terms[s][1] * terms[s][1];
    }
  }
}

// Grid: groups, channel tiles.
__global__ void __launch_bounds__(block_threads)
    merge_gradients_kernel(int64_t group_samples, int64_t positions, int64_t channels, int width, int64_t parts,
                           const float* sums, unsigned* counters, ParameterArrays parameters,
                           GroupGradients gradients) {
  const Tile<1> tile(channels, width, blockIdx.y);
  const int64_t group = blockIdx.x, from = (group * group_samples * parts * channels + tile.column) * 2;
  const GroupAffine affine(tile, parameters, group, channels);
  double totals[sums_per_channel] = {};
  if (tile.in_range) add_samples(tile, group_samples, parts, channels, sums + from, totals);
  sum_columns(totals, width);
  finish_gradients(tile, parameters, affine, gradients, group_samples * positions, group, gridDim.x, channels, width,
                   counters + blockIdx.y, totals);
}

template <int vector>
struct Factors {
  float grad[vector], x[vector], term[vector];
};

// Second grid dimension: groups.
template <class Types, int vector>
__global__ void __launch_bounds__(block_threads)
    affine_gradient_kernel(int64_t groups, int64_t rows, int64_t channels, BatchNormFactors factors,
                           const typename Types::Value* x, const typename Types::Gradient* g,
                           typename Types::Gradient* grad_x) {
  for (int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
    const int64_t origin = group * rows * channels;
    channel_stride(
        rows, channels / vector,
        [&](int64_t column) {
          Factors<vector> of;
          for (int v = 0; v < vector; ++v) {
            const int64_t i = group * channels + column * vector + v;
            of.grad[v] = factors.grad[i];
            of.x[v] = factors.x[i];
            of.term[v] = factors.term[i];
          }
          return of;
        },
        [&](int64_t i, const Factors<vector>& of) {
          const auto inputs = load_elements<vector>(x + origin + i * vector);
          const auto grads = load_elements<vector>(g + origin + i * vector);
          FloatVector<vector> result;
          for (int v = 0; v < vector; ++v) result[v] = fmaf(grads[v], of.grad[v], fmaf(inputs[v], of.x[v], of.term[v]));
          store_elements(grad_x + origin + i * vector, result);
        });
  }
}

// Grid of groups and channel tiles for merges that are kernels of their own. Tiles are so narrow that blocks keep a
// large GPU busy, but not below the channels of a 32-byte access of doubles.
struct MergeGrid {
  int width;
  int64_t groups, tiles;

  MergeGrid(const BatchNormShape& shape)
      : width(channel_width(shape.channels)), groups(shape.groups()), tiles(divide_up(shape.channels, width)) {
    constexpr int64_t enough_blocks = 256;
    while (width > 4 && groups * tiles < enough_blocks) {
      width /= 2;
      tiles = divide_up(shape.channels, width);
    }
    NSGD_CHECK(tiles <= CudaState::most_counters, "batch norm: {} channels are too many for a CUDA device",
               shape.channels);
  }
  dim3 size() const { return dim3(static_cast<unsigned>(groups), static_cast<unsigned>(tiles)); }
};

template <class T>
void group_statistics(Queue& queue, const BatchNormShape& shape, const BatchNormStatistics& arrays, const T* x) {
  const int64_t channels = shape.channels, groups = shape.groups(), rows = shape.group * shape.positions;
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
  const StatisticsArrays statistics{arrays, variance};
  unsigned* const counters = queue.cuda().counters(grid.counters());
  grid.for_each_launch(blocks, [&](int64_t first, dim3 size) {
    with_width<width>(by_vectors, [&](auto v) {
      launch(queue, group_statistics_kernel<v, T>, size, block_threads, 0, first, groups, rows, channels, grid.width, x,
             moments, counters, statistics);
    });
  });
}

}  // namespace

void batch_norm_statistics(Queue& queue, const BatchNormShape& shape, const BatchNormStatistics& arrays,
                           ConstValues x) {
  check(shape, arrays);
  if (shape.samples == 0) return;
  with_stored_types("batch_norm_statistics", x.type, [&]<class Types>(Types) {
    group_statistics(queue, shape, arrays, array_of<typename Types::Value>("batch_norm_statistics", x));
  });
}

void batch_norm_merge_statistics(Queue& queue, const BatchNormShape& shape, const BatchNormBlocks& blocks,
                                 const BatchNormStatistics& arrays) {
  check(shape, arrays);
  check(shape, blocks);
  if (shape.samples == 0) return;
  const MergeGrid grid(shape);
  Scratch scratch(queue);
  const StatisticsArrays statistics{arrays, scratch.take<float>(grid.groups * shape.channels)};
  launch(queue, merge_statistics_kernel, grid.size(), block_threads, 0, shape.group * shape.positions, shape.channels,
         grid.width, blocks, queue.cuda().counters(grid.tiles), statistics);
}

void batch_norm_merge_gradients(Queue& queue, const BatchNormShape& shape, const BatchNormGradientSums& arrays) {
  check(shape);
  if (shape.samples == 0) return;
  const MergeGrid grid(shape);
  Scratch scratch(queue);
  const GroupGradients gradients{scratch.take<double>(grid.groups * sums_per_channel * shape.channels), nullptr,
                                 nullptr, arrays.factors};
  launch(queue, merge_gradients_kernel, grid.size(), block_threads, 0, shape.group, shape.positions, shape.channels,
         grid.width, arrays.parts, arrays.sums, queue.cuda().counters(grid.tiles), ParameterArrays(arrays), gradients);
}

void batch_norm_input_gradient(Queue& queue, const BatchNormShape& shape, const BatchNormFactors& factors,
                               ConstValues x, ConstValues g, Values grad_x) {
  check(shape);
  if (shape.samples == 0) return;
  constexpr const char* op = "batch_norm_input_gradient";
  with_stored_types(op, x.type, [&]<class Types>(Types) {
    constexpr int width = vector_width<typename Types::Value>;
    const auto* const inputs = array_of<typename Types::Value>(op, x);
    const auto* const grads = array_of<typename Types::Gradient>(op, g);
    auto* const result = array_of<typename Types::Gradient>(op, grad_x);
    with_width<width>(shape.channels % width == 0 && aligned_elements<width>(inputs, grads, result), [&](auto v) {
      launch(queue, affine_gradient_kernel<Types, v>, group_channel_grid(shape, v), block_threads, 0, shape.groups(),
             shape.group * shape.positions, shape.channels, factors, inputs, grads, result);
    });
  });
}

}  // namespace noisysgd::kernels::cuda
