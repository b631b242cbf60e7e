// The weight gradient of any convolution and its second moments on tensor cores, operands rounded to tf32. A
// group of warps computes a tile of the weights, [output channels, patch elements (r,s,c)], from one sample at a time
// and 16 output positions at a time. Asynchronous copies gather the patches, zero outside the image, into a ring of
// stages: four neighbouring channels at once where channel count and address allow it, else element by element. Groups
// of a block, and blocks along the grid's second dimension, process different samples.
#include <algorithm>

#include <noisysgd/kernels/cuda/conv_geometry.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/copy_or_zero.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/merge_shares.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/cuda/tensor_operands.h>
#include <noisysgd/kernels/cuda/vector.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int step_positions = 16, stages = 3;
constexpr int m_tiles = 2, n_tiles = 4;  // of a warp: 32 output channels, 32 patch elements
constexpr int64_t blocks_at_work = 2 * 132;

template <class Format_, int warps_k_, int warps_n_, int groups_>
struct Tiling {
  using Format = Format_;
  using Register = typename Format::Register;
  static constexpr int warps_k = warps_k_, warps_n = warps_n_, groups = groups_;
  static constexpr int k_tile = warps_k * m_tiles * 16, n_tile = warps_n * n_tiles * 8;
  static constexpr int group_threads = warps_k * warps_n * warp_lanes, threads = groups * group_threads;
  static constexpr int spread = 8 / Format::values;  // padding with which the lanes of one load read 32 different banks
  static constexpr int channel_pitch = k_tile + spread, tap_pitch = n_tile + spread;
  static constexpr int stage_floats = step_positions * (channel_pitch + tap_pitch);
  static constexpr size_t shared_bytes =
      sizeof(float) * std::max(groups * stages * stage_floats, group_floats(groups, k_tile, n_tile));
  static_assert(channel_pitch % chunk == 0 && tap_pitch % chunk == 0);  // chunks of every row are aligned
  static_assert(shared_bytes + last_block_bytes <= least_shared_memory);
};

// Which operands are copied in chunks of four floats.
struct Chunks {
  bool grad_y, x;
};

// The part of a group: the first weights of its tile, and its samples first, first + step, ...
struct Share {
  int32_t k0, n0;
  int64_t first, step;
};

// step_positions positions of sample n from position `first` on.
struct Item {
  int64_t n;
  int32_t first;
  bool exists;

  __device__ Item(const ConvGeometry& g, const Share& share, int item, int steps)
      : n(share.first + item / steps * share.step), first(item % steps * step_positions), exists(n < g.batch) {
    if (!exists) n = 0;  // a valid address
  }
};

// Starts the copies of grad_y at the item's positions and the tile's output channels.
template <class T, int floats>
__device__ void load_channels(const ConvGeometry& g, const float* grad_y, const Share& share, const Item& item,
                              int thread, float* channels) {
  constexpr int columns = T::k_tile / floats;
  const float* const sample = grad_y + item.n * g.out_size();
#pragma unroll 1
  for (int i = thread; i < step_positions * columns; i += T::group_threads) {
    const int column = i % columns * floats, t = i / columns;
    const int32_t k = share.k0 + column;
    const bool inside = item.exists && k < g.out_channels && item.first + t < g.out_positions();
    copy_or_zero<floats>(channels + t * T::channel_pitch + column,
                         sample + (inside ? (item.first + t) * g.out_channels + k : 0), inside);
  }
}

// The same of x at the tile's patch elements. Every thread copies the same columns at some of the positions. The
// elements of a chunk are channels of one pixel.
template <class T, int floats>
__device__ void load_taps(const ConvGeometry& g, const float* x, const Share& share, const Item& item, int thread,
                          float* taps) {
  constexpr int columns = T::n_tile / floats;
  static_assert(T::group_threads % columns == 0 || columns % T::group_threads == 0);
  const float* const sample = x + item.n * g.in_size();
  int previous = -1;
  Tap tap{};
#pragma unroll 1
  for (int i = thread; i < step_positions * columns; i += T::group_threads) {
    const int column = i % columns * floats, t = i / columns;
    const bool has_tap = share.n0 + column < g.taps();
    if (column != previous) tap = tap_of(has_tap ? share.n0 + column : 0, g.by_in_channels, g.by_kernel_width);
    previous = column;
    int32_t out_column = item.first + t;
    const int32_t row = g.by_out_width.reduce(out_column);
    const int32_t h = row * g.stride_height - g.padding_height + tap.row;
    const int32_t w = out_column * g.stride_width - g.padding_width + tap.column;
    const bool inside = item.exists && has_tap && row < g.out_height && h >= 0 && h < g.height && w >= 0 && w < g.width;
    copy_or_zero<floats>(taps + t * T::tap_pitch + column,
                         sample + (inside ? (h * g.width + w) * g.in_channels + tap.channel : 0), inside);
  }
}

using Fragments = float[m_tiles][n_tiles][4];

// Adds the products over Format::depth positions to gradient and, of the squared operands, to square.
template <class T, bool spatial>
__device__ void multiply_positions(const float* channels, const float* taps, Fragments& gradient, Fragments& square) {
  using Format = typename T::Format;
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, group = lane / 4, place = lane % 4;
  // Rounds `values` floats of the operand, at distance `pitch`, and their squares.
  const auto round = [](const float* from, int pitch, typename T::Register& to, typename T::Register& to_square) {
    float values[Format::values], squares[Format::values];
    for (int v = 0; v < Format::values; ++v) {
      values[v] = from[v * pitch];
      squares[v] = values[v] * values[v];
    }
    to = Format::round(values);
    if constexpr (spatial) to_square = Format::round(squares);
  };
  typename T::Register right[n_tiles][2], right_squares[n_tiles][2];
#pragma unroll
  for (int n = 0; n < n_tiles; ++n)
    for (int half = 0; half < 2; ++half)
      round(taps + Format::depth_index(place, half, 0) * T::tap_pitch + n * 8 + group, T::tap_pitch, right[n][half],
            right_squares[n][half]);
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
    typename T::Register left[4], left_squares[4];
    for (int i = 0; i < 4; ++i)
      round(channels + Format::depth_index(place, i / 2, 0) * T::channel_pitch + m * 16 + group + i % 2 * 8,
            T::channel_pitch, left[i], left_squares[i]);
#pragma unroll
    for (int n = 0; n < n_tiles; ++n) {
      Format::multiply(gradient[m][n], left, right[n]);
      if constexpr (spatial) Format::multiply(square[m][n], left_squares, right_squares[n]);
    }
  }
}

// Writes a warp's sums to a tile [output channels,pitch], from output channel k and patch element n of it on.
__device__ void store_fragments(int k, int n, const Fragments& sums, float* tile, int pitch) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  float* const to = tile + (k + lane / 4) * pitch + n + lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < m_tiles; ++m)
#pragma unroll
    for (int j = 0; j < n_tiles; ++j)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_vector(to + (m * 16 + half * 8) * pitch + j * 8,
                     FloatVector<2>{sums[m][j][2 * half], sums[m][j][2 * half + 1]});
}

// Grid: tiles of the weights, shares of the samples.
template <class T, SecondMoment kind>
__global__ void __launch_bounds__(T::threads)
    conv_gather_kernel(const __grid_constant__ ConvGeometry g, Chunks chunks, const float* x, const float* grad_y,
                       const __grid_constant__ ShareMerge merge) {
  GPU_DYNAMIC_SHARED(float, shared);
  constexpr bool exact = kind == SecondMoment::exact;
  const int thread = static_cast<int>(threadIdx.x) % T::group_threads;
  const int group = static_cast<int>(threadIdx.x) / T::group_threads, warp = thread / warp_lanes;
  const int warp_k = warp % T::warps_k, warp_n = warp / T::warps_k;
  const int64_t shares = int64_t{gridDim.y} * T::groups;
  const auto tile = static_cast<int32_t>(blockIdx.x), row_tiles = merge.tiles.column_tiles();
  const Share share{tile / row_tiles * T::k_tile, tile % row_tiles * T::n_tile, int64_t{blockIdx.y} * T::groups + group,
                    shares};
  float* const ring = shared + group * stages * T::stage_floats;
  // All groups process the same number of samples, so that one barrier serves the block; the last one may not exist.
  const int steps = (g.out_positions() + step_positions - 1) / step_positions;
  const int items = static_cast<int>((g.batch + shares - 1) / shares) * steps;
  const auto load = [&](int item) {
    if (item < items) {
      const Item from(g, share, item, steps);
      float* const channels = ring + item % stages * T::stage_floats;
      float* const taps = channels + step_positions * T::channel_pitch;
      chunks.grad_y ? load_channels<T, chunk>(g, grad_y, share, from, thread, channels)
                    : load_channels<T, 1>(g, grad_y, share, from, thread, channels);
      chunks.x ? load_taps<T, chunk>(g, x, share, from, thread, taps)
               : load_taps<T, 1>(g, x, share, from, thread, taps);
    }
    __pipeline_commit();
  };

  Fragments gradient{}, square{}, sample{};
  for (int item = 0; item < stages - 1; ++item) load(item);
  int step = 0;
#pragma unroll 1
  for (int item = 0; item < items; ++item) {
    __pipeline_wait_prior(stages - 2);
    __syncthreads();  // the item has arrived, and no thread still reads the stage that is filled next
    load(item + stages - 1);
    const float* channels = ring + item % stages * T::stage_floats + warp_k * m_tiles * 16;
    const float* taps =
        ring + item % stages * T::stage_floats + step_positions * T::channel_pitch + warp_n * n_tiles * 8;
#pragma unroll
    for (int t = 0; t < step_positions; t += T::Format::depth)
      multiply_positions<T, kind == SecondMoment::spatial>(channels + t * T::channel_pitch, taps + t * T::tap_pitch,
                                                           exact ? sample : gradient, square);
    if (++step < steps) continue;
    step = 0;  // the sample is complete: it is added to the sums and reset
    if constexpr (exact)
#pragma unroll
      for (int m = 0; m < m_tiles; ++m)
#pragma unroll
        for (int n = 0; n < n_tiles; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            gradient[m][n][i] += sample[m][n][i];
            square[m][n][i] += sample[m][n][i] * sample[m][n][i];
            sample[m][n][i] = 0;
          }
  }

  const auto part = static_cast<int32_t>(blockIdx.y);
  const auto store = [&](int32_t sum, const Fragments& fragments) {
    store_part<T::groups, T::k_tile, T::n_tile>(shared, group, merge.part(part, tile, sum), [&](float* to, int pitch) {
      store_fragments(warp_k * m_tiles * 16, warp_n * n_tiles * 8, fragments, to, pitch);
    });
  };
  store(0, gradient);
  if constexpr (kind != SecondMoment::none) store(1, square);
  merge_shares(merge, tile, part);
}

template <class T>
ShareGrid grid_of(const ConvShape& s) {
  const WeightTiles tiles{static_cast<int32_t>(s.out_channels), static_cast<int32_t>(s.weights() / s.out_channels),
                          T::k_tile, T::n_tile};
  return {tiles, std::clamp<int64_t>(blocks_at_work / tiles.count(), 1, divide_up(s.batch, T::groups))};
}

template <class T>
void launch_tiling(Queue& queue, const ConvShape& s, SecondMoment kind, const ConvOperand& stored_x,
                   ConstValues stored_grad_y, const WeightSums& to) {
  const float *const x = stored_x.f32("conv_gather"), *const grad_y = stored_grad_y.f32("conv_gather");
  const Chunks chunks{vector_of(s.out_channels, {grad_y}) == chunk, vector_of(s.in_channels, {x}) == chunk};
  const ConvGeometry geometry(s);
  launch_merged(queue, grid_of<T>(s), to, [&](dim3 blocks, const ShareMerge& merge) {
    launch(queue,
           kind == SecondMoment::exact     ? conv_gather_kernel<T, SecondMoment::exact>
           : kind == SecondMoment::spatial ? conv_gather_kernel<T, SecondMoment::spatial>
                                           : conv_gather_kernel<T, SecondMoment::none>,
           blocks, T::threads, T::shared_bytes, geometry, chunks, x, grad_y, merge);
  });
}

template <class T>
constexpr ConvKernel kernel_of = {&grid_of<T>, &launch_tiling<T>};

// Layers with few channels or patch elements use small tiles, with several groups, that is samples, per block.
template <class Format>
const ConvKernel* choose(const ConvShape& s) {
  const bool few_elements = s.weights() / s.out_channels <= 32;
  if (s.out_channels > 32)
    return few_elements ? &kernel_of<Tiling<Format, 2, 1, 4>> : &kernel_of<Tiling<Format, 2, 4, 1>>;
  return few_elements ? &kernel_of<Tiling<Format, 1, 1, 4>> : &kernel_of<Tiling<Format, 1, 4, 2>>;
}

}  // namespace

const ConvKernel* conv_gather(const ConvShape& shape, Precision precision) {
  return precision == Precision::fp32 ? nullptr : choose<Tf32>(shape);
}

}  // namespace noisysgd::kernels::cuda
