#include <noisysgd/kernels/cuda/conv_narrow.h>

#include <noisysgd/kernels/cuda/copy_or_zero.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/cuda/tensor_operands.h>
#include <noisysgd/kernels/cuda/vector.h>
#include <noisysgd/kernels/cuda/weight_fragments.h>

// The result is a matrix with a row per position and a column per output channel; the product's depth runs over taps
// and input channels. All weights stay in registers: a warp holds 9 taps of every input channel for its `columns`
// output channels. A block processes one band of rows of an image at a time from shared memory, while the next band is
// being copied. A warp moves down 16 columns of the band: each row that it reads contributes to three rows of the
// result, in three sets of sums.
namespace noisysgd::kernels::cuda {
namespace {

constexpr int warps = 8, threads = warps * warp_lanes, taps = filter_taps, stages = 2;

template <int channels_, int size_>
struct Tiling {
  static constexpr int channels = channels_, size = size_, band = 16;    // size x size images; a band: 16 output rows
  static constexpr int k_steps = channels / 8, n_tiles = 32 / channels;  // of 8 channels each, for a warp
  static constexpr int columns = 8 * n_tiles, column_groups = channels / columns, x_tiles = size / 16;
  static constexpr int row_groups = warps / (column_groups * x_tiles), rows = band / row_groups;  // a warp's
  static constexpr int pitch = size + 2, band_rows = band + 2, bands = size / band;               // with the halo
  static constexpr int stage_floats = band_rows * pitch * channels;
  static constexpr size_t shared_bytes = sizeof(float) * stages * stage_floats;
  static_assert(row_groups * column_groups * x_tiles == warps && size % band == 0);
  static_assert(shared_bytes <= least_shared_memory);
};

// Index of channel c of a position of the band in shared memory. Chunks of four channels are permuted from column to
// column, so that the same chunk of eight neighbouring columns lies in different banks.
template <class T>
__device__ int place_of(int row, int column, int c) {
  static_assert(T::pitch * T::channels % 32 == 0);  // rows begin in the same bank
  const int turn = T::channels == 16 ? column / 2 % 4 : column % 8;
  return (row * T::pitch + column) * T::channels + ((c / chunk) ^ turn) * chunk + c % chunk;
}

// Starts the copies of item `item`; rows outside the image become zero.
template <class T>
__device__ void load_item(const float* images, int32_t item, float* stage) {
  constexpr int chunks = T::band_rows * T::size * T::channels / chunk, per_position = T::channels / chunk;
  const float* from = images + int64_t{item / T::bands} * T::size * T::size * T::channels;
  const int row0 = item % T::bands * T::band - 1;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < chunks; i += threads) {
    const int c = i % per_position * chunk, column = i / per_position % T::size, row = i / per_position / T::size;
    const bool inside = row0 + row >= 0 && row0 + row < T::size;
    copy_16_bytes_or_zero(stage + place_of<T>(row, column + 1, c),
                          from + (inside ? ((row0 + row) * T::size + column) * T::channels + c : 0), inside);
  }
}

template <class T>
using Weights = uint32_t[taps][T::k_steps][T::n_tiles][2];

// The weights [K,3,3,C] of this lane's output channels, as right operands. data_gradient: the weights of the transposed
// filter, rotated by 180 degrees.
template <class T, bool data_gradient>
__device__ void load_weights(const float* weight, int first_column, Weights<T>& weights) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, group = lane / 4, place = lane % 4;
#pragma unroll
  for (int tap = 0; tap < taps; ++tap)
#pragma unroll
    for (int k = 0; k < T::k_steps; ++k)
#pragma unroll
      for (int n = 0; n < T::n_tiles; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int to = first_column + n * 8 + group, from = k * 8 + place + 4 * half;
          weights[tap][k][n][half] =
              Tf32::round({data_gradient ? weight[(from * taps + taps - 1 - tap) * T::channels + to]
                                         : weight[(to * taps + tap) * T::channels + from]});
        }
}

// A lane's four operands of 16 columns and 8 channels: column and column + 8, channel c and c + 4. first: its index
// (place_of) in the first chunk of channels; the index in another chunk differs only in the bits of the chunk.
template <class T>
__device__ void load_left(const float* shared, int first, int row, int c, uint32_t (&left)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
    left[i] =
        Tf32::round({shared[(first ^ (c + i / 2 * chunk)) + row * T::pitch * T::channels + i % 2 * 8 * T::channels]});
}

template <class T, bool data_gradient>
__global__ void __launch_bounds__(threads, 2)
    conv_narrow_kernel(int32_t items, const float* images, const float* weight, float* result) {
  GPU_DYNAMIC_SHARED(float, shared);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, warp = static_cast<int>(threadIdx.x) / warp_lanes;
  const int column_group = warp % T::column_groups, x_tile = warp / T::column_groups % T::x_tiles;
  const int first_row = warp / T::column_groups / T::x_tiles * T::rows, group = lane / 4, place = lane % 4;
  const int first_column = column_group * T::columns;
  for (int i = static_cast<int>(threadIdx.x); i < stages * T::band_rows * 2 * T::channels; i += threads) {
    const int c = i % T::channels, side = i / T::channels % 2, row = i / T::channels / 2;  // of all stages
    shared[row / T::band_rows * T::stage_floats + place_of<T>(row % T::band_rows, side * (T::pitch - 1), c)] = 0;
  }
  Weights<T> weights;
  load_weights<T, data_gradient>(weight, first_column, weights);
  const auto block = static_cast<int32_t>(blockIdx.x), blocks = static_cast<int32_t>(gridDim.x);
  int stage = 0;
  load_item<T>(images, block, shared);
  __pipeline_commit();
#pragma unroll 1
  for (int32_t item = block; item < items; item += blocks, stage ^= 1) {
    __pipeline_wait_prior(0);
    __syncthreads();  // the item has arrived, and no thread still reads the previous one
    if (item + blocks < items) load_item<T>(images, item + blocks, shared + (stage ^ 1) * T::stage_floats);
    __pipeline_commit();

    static_assert(T::stage_floats % T::channels == 0);
    int first[3];  // of the three columns of taps
#pragma unroll
    for (int dx = 0; dx < 3; ++dx)
      first[dx] = stage * T::stage_floats + place_of<T>(first_row, x_tile * 16 + group + dx, place);
    const int64_t first_position = (int64_t{item} * T::band + first_row) * T::size + x_tile * 16 + group;
    float* const to = result + first_position * T::channels + first_column + 2 * place;
    float sums[3][T::n_tiles][4];
#pragma unroll
    for (int row = 0; row < T::rows + 2; ++row) {  // of the band with its halo
#pragma unroll
      for (int n = 0; n < T::n_tiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[row % 3][n][i] = 0;
#pragma unroll
      for (int dx = 0; dx < 3; ++dx)
#pragma unroll
        for (int k = 0; k < T::k_steps; ++k) {
          uint32_t left[4];
          load_left<T>(shared, first[dx], row, k * 8, left);
#pragma unroll
          for (int dy = 0; dy < 3; ++dy) {
            const int result_row = row - dy;
            if (result_row < 0 || result_row >= T::rows) continue;
#pragma unroll
            for (int n = 0; n < T::n_tiles; ++n)
              Tf32::multiply(sums[result_row % 3][n], left, weights[dy * 3 + dx][k][n]);
          }
        }
      const int done = row - 2;
      if (done < 0) continue;
#pragma unroll
      for (int n = 0; n < T::n_tiles; ++n)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          store_vector(to + (done * T::size + half * 8) * T::channels + n * 8,
                       FloatVector<2>{{sums[done % 3][n][2 * half], sums[done % 3][n][2 * half + 1]}});
    }
  }
}

template <class T, bool data_gradient>
bool try_tiling(Queue& queue, const ConvShape& s, const float* images, const float* weight, float* result) {
  if (s.in_channels != T::channels || s.height != T::size) return false;
  const int64_t items = s.batch * T::bands, most = 2 * int64_t{queue.cuda().multiprocessors()};
  launch(queue, conv_narrow_kernel<T, data_gradient>, static_cast<unsigned>(std::min(items, most)), threads,
         T::shared_bytes, items, images, weight, result);
  return true;
}

template <bool data_gradient>
bool convolve(Queue& queue, const ConvShape& s, ConstValues from, const float* weight, Values to) {
  if (from.type != DType::f32 || to.type != DType::f32) return false;
  const auto* const images = static_cast<const float*>(from.address);
  auto* const result = static_cast<float*>(to.address);
  const bool same_size = s.kernel_height == 3 && s.kernel_width == 3 && s.stride_height == 1 && s.stride_width == 1 &&
                         s.padding_height == 1 && s.padding_width == 1;
  if (queue.precision() == Precision::fp32 || !same_size || s.height != s.width || s.in_channels != s.out_channels ||
      !aligned_vector<4>(images) || !aligned_vector<4>(result))
    return false;
  return try_tiling<Tiling<16, 32>, data_gradient>(queue, s, images, weight, result) ||
         try_tiling<Tiling<32, 16>, data_gradient>(queue, s, images, weight, result);
}

}  // namespace

bool narrow_forward(Queue& queue, const ConvShape& shape, ConstValues x, const float* weight, Values y) {
  return convolve<false>(queue, shape, x, weight, y);
}

bool narrow_backward_data(Queue& queue, const ConvShape& shape, const float* weight, ConstValues grad_y,
                          Values grad_x) {
  return convolve<true>(queue, shape, grad_y, weight, grad_x);
}

}  // namespace noisysgd::kernels::cuda
