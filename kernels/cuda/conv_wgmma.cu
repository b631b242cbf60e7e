// A block computes a tile of the weights, [64 output channels, 9 taps, 32 input channels], from one sample at a time.
// G_n is a matrix product of grad_y^T and shifted x over the output positions: each of the block's two warpgroups holds
// 16 of the input channels, and of grad_y^T 64 channels and 16 positions at a time in registers. x is read from shared
// memory, [8 channels][positions of the image with its halo]: the three taps of a row are 24 columns of one product
// whose blocks of 8 columns overlap, because they lie one position apart; a row of taps further down is another start
// address. Where samples are squared, their sums arrive one row of taps after the other, and are added up while the
// next row is multiplied. Meanwhile the operands of the next items are copied to shared memory. Blocks along the grid's
// second dimension process different samples.
#include <noisysgd/kernels/cuda/conv_wgmma.h>

#include <algorithm>

#include <noisysgd/kernels/convert.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/merge_shares.h>
#include <noisysgd/kernels/cuda/ptx.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/cuda/weight_fragments.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int side = 3;                      // of the filter: rows of taps, and taps of a row
constexpr int k_tile = 64;                   // output channels of a block
constexpr int warpgroups = 2, c_blocks = 2;  // of 8 input channels, in a warpgroup
constexpr int c_tile = warpgroups * c_blocks * 8, threads = warpgroups * 4 * warp_lanes;
constexpr int depth = 16, most_steps = 4;  // positions of a product, and products between two loads of grad_y
constexpr int row_sums = 4 * side;         // a thread's sums for a row of taps and 8 input channels
constexpr int chunk_bytes = 16;            // 8 channels
constexpr int x_blocks = c_tile / 8, grad_blocks = k_tile / 8;
constexpr int64_t blocks_at_work = 132;      // fixed, so that sums have one order on every device
constexpr size_t shared_limit = 227 * 1024;  // of compute capability 9.0

struct Problem {
  const uint16_t *x, *grad_y;
  int32_t batch, in_channels, out_channels;
};

// size: of the square images. An item of the pipeline is a band of output rows of one sample, or several samples.
template <int size_, int band_, int samples_, int stages_>
struct Tiling {
  static constexpr int size = size_, positions = size * size, band = band_, bands = size / band, samples = samples_,
                       stages = stages_;
  static constexpr int item_positions = band * size, steps = std::min(most_steps, item_positions / depth);
  static constexpr int parts = item_positions / (depth * steps);
  // x in shared memory: [4 blocks of 8 channels][copies][rows][pitch][8]. Eight positions of depth must be neighbours.
  // In images of 4x4 they span two rows, so the rows must have no halo: there is a copy of x for each tap of a row,
  // shifted by it.
  static constexpr int copies = size < 8 ? side : 1, pitch = size < 8 ? size : size + 2, rows = band + 2;
  static constexpr int copy_positions = rows * pitch;
  // A quarter of a warp copies two positions of all four blocks. These lie in different banks.
  static constexpr int block_positions = (copies * copy_positions + 5) / 8 * 8 + 2;
  static constexpr int depth_step = (size == 8 ? pitch : 8) * chunk_bytes;             // eight positions further
  static constexpr int column_step = (copies > 1 ? copy_positions : 1) * chunk_bytes;  // one tap further
  static constexpr int x_bytes = x_blocks * block_positions * chunk_bytes;
  // grad_y in shared memory: [item_positions][64], chunks of 8 channels permuted within a position.
  static constexpr int grad_pitch = k_tile * sizeof(uint16_t), sample_bytes = x_bytes + item_positions * grad_pitch;
  static constexpr int stage_bytes = samples * sample_bytes;
  static constexpr size_t shared_bytes = size_t{stages} * stage_bytes;
  // Rows of x that an item copies, from first_row on. Rows outside the image stay zero if no item has them inside.
  static constexpr int copied_rows = bands > 1 ? rows : size, first_row = bands > 1 ? 0 : 1;
  static constexpr int x_chunks = copied_rows * size * x_blocks;
  static constexpr int grad_chunks = item_positions * grad_blocks;
  static_assert(bands * band == size && parts * steps * depth == item_positions &&
                shared_bytes + last_block_bytes <= shared_limit);
  static_assert(samples == 1 || bands == 1);

  // The byte in shared memory of channels 8 c and on at a position of x, rows and columns counted with the halo.
  __device__ static constexpr int x_place(int c, int copy, int row, int column) {
    return (c * block_positions + copy * copy_positions + row * pitch + column) * chunk_bytes;
  }
  __device__ static int grad_place(int position, int k) {
    return x_bytes + position * grad_pitch + (k ^ position % 8) * chunk_bytes;
  }
};

// The part of a block: the first channels of its tile, and its samples first, first + step, …
struct Share {
  int32_t k0, c0, first, step;

  // Sample s of an item; it may be past the last sample.
  template <class T>
  __device__ int32_t sample(int item, int s) const {
    return first + (item / T::bands * T::samples + s) * step;
  }
};

// How the threads divide the chunks of an item: a pass copies `active` chunks of each of `samples` samples.
template <int chunks>
struct Division {
  static constexpr int active = std::min(chunks, threads), passes = chunks / active, samples = threads / active;
  static_assert(passes * active == chunks);
};

// Starts the copies of an item. Elements past the last sample, and those above and below the image, become zero.
template <class T>
__device__ void load_item(const Problem& p, const Share& share, int item, unsigned char* stage) {
  const auto copy = [](unsigned char* to, const uint16_t* from, bool copied) {
    __pipeline_memcpy_async(to, from, chunk_bytes, copied ? 0 : chunk_bytes);
  };
  const int thread = static_cast<int>(threadIdx.x), band0 = item % T::bands * T::band;
  // Loops are not unrolled: the addresses of their rounds would take registers that the sums need.
  using X = Division<T::x_chunks>;
#pragma unroll 1
  for (int s = thread / X::active; s < T::samples; s += X::samples) {
    const int32_t n = share.sample<T>(item, s);
    const int c = thread % x_blocks, column = thread / x_blocks % T::size;
    const uint16_t* const from = p.x + int64_t{n < p.batch ? n : 0} * T::positions * p.in_channels + share.c0 + c * 8;
    unsigned char* const to = stage + s * T::sample_bytes;
    int row = T::first_row + thread % X::active / (x_blocks * T::size);
#pragma unroll 1
    for (int pass = 0; pass < X::passes; ++pass, row += T::copied_rows / X::passes) {
      const int h = band0 + row - 1;
      const bool inside = n < p.batch && (T::bands == 1 || (h >= 0 && h < T::size));
      const uint16_t* const pixel = from + (inside ? (h * T::size + column) * p.in_channels : 0);
      if constexpr (T::copies == 1) {
        copy(to + T::x_place(c, 0, row, column + 1), pixel, inside);
      } else {
#pragma unroll
        for (int tap = 0; tap < side; ++tap) {
          const int shifted = column + 1 - tap;
          if (shifted >= 0 && shifted < T::size) copy(to + T::x_place(c, tap, row, shifted), pixel, inside);
        }
      }
    }
  }
  using Grad = Division<T::grad_chunks>;
#pragma unroll 1
  for (int s = thread / Grad::active; s < T::samples; s += Grad::samples) {
    const int32_t n = share.sample<T>(item, s);
    const bool exists = n < p.batch;
    const int k = thread % grad_blocks;
    const uint16_t* const from =
        p.grad_y + (int64_t{exists ? n : 0} * T::positions + band0 * T::size) * p.out_channels + share.k0 + k * 8;
    unsigned char* const to = stage + s * T::sample_bytes;
    int position = thread % Grad::active / grad_blocks;
#pragma unroll 1
    for (int pass = 0; pass < Grad::passes; ++pass, position += Grad::active / grad_blocks)
      copy(to + T::grad_place(position, k), from + (exists ? position * p.out_channels : 0), exists);
  }
}

// A thread's sums: [row of taps][block of 8 input channels][tap of the row, row half, column pair].
using RowSums = float[c_blocks][row_sums];
using Fragments = RowSums[side];

// sample: the sums of one sample, if they are squared.
template <bool squares>
struct Sums {
  Fragments gradient{}, square{}, sample{};

  __device__ void fold(int row) {
#pragma unroll
    for (int c = 0; c < c_blocks; ++c)
#pragma unroll
      for (int i = 0; i < row_sums; ++i) {
        const float g = sample[row][c][i];
        gradient[row][c][i] += g;
        square[row][c][i] += g * g;
      }
  }
};

// Adds the products over part `part` of an item's positions. x: the warpgroup's operand at the item's first position.
// first, last: whether the part is the first and the last one of a sample.
template <class T, bool squares, bool last>
__device__ void multiply_part(uint64_t x, const unsigned char* sample, int part, bool first, int lane, int warp,
                              Sums<squares>& sums) {
  uint32_t grad[T::steps][4];
#pragma unroll
  for (int step = 0; step < T::steps; ++step) {
    const int position = (part * T::steps + step) * depth + lane % 8 + lane / 16 * 8;
    ptx::load_matrices_transposed<4>(
        grad[step], reinterpret_cast<const uint16_t*>(sample + T::grad_place(position, warp * 2 + lane / 8 % 2)));
  }
  auto& products = squares ? sums.sample : sums.gradient;
  ptx::begin_products();
#pragma unroll
  for (int row = 0; row < side; ++row) {
#pragma unroll
    for (int step = 0; step < T::steps; ++step) {
      const int position = (part * T::steps + step) * depth;
#pragma unroll
      for (int c = 0; c < c_blocks; ++c)
        ptx::multiply_m64n24k16_bf16(
            products[row][c], grad[step],
            ptx::shared_operand_at(x, T::x_place(c, 0, position / T::size + row, position % T::size)),
            !squares || !first || step > 0);
    }
    ptx::commit_products();
    if constexpr (squares && last)
      if (row > 0) {
        ptx::wait_for_products<1>(products[row - 1][0], products[row - 1][1]);
        sums.fold(row - 1);
      }
  }
  if constexpr (squares && last) {
    ptx::wait_for_products<0>(products[2][0], products[2][1]);
    sums.fold(2);
  } else {
    ptx::wait_for_products<0>(products[0][0], products[0][1], products[1][0], products[1][1], products[2][0],
                              products[2][1]);
  }
}

// Writes a thread's sums to a tile of the weights; k and c: its first output and input channel there.
__device__ void store_sums(int k, int c, const Fragments& sums, float* tile) {
#pragma unroll
  for (int row = 0; row < side; ++row)
#pragma unroll
    for (int block = 0; block < c_blocks; ++block)
#pragma unroll
      for (int tap = 0; tap < side; ++tap)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int weight = ((k + half * 8) * side + row) * side + tap;
          const float* const pair = sums[row][block] + tap * 4 + half * 2;
          *reinterpret_cast<float2*>(tile + weight * c_tile + c + block * 8) = {pair[0], pair[1]};
        }
}

// Grid: tiles of the weights, shares of the samples.
template <class T, bool squares>
__global__ void __launch_bounds__(threads, 1)
    conv_wgmma_kernel(const __grid_constant__ Problem p, const __grid_constant__ ShareMerge merge) {
  GPU_DYNAMIC_SHARED(unsigned char, stages);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp_lanes;
  const int warp = thread / warp_lanes % 4;  // of the warpgroup
  // The shuffle tells the compiler that all lanes have the same number, so it keeps operands in uniform registers.
  const int warpgroup = __shfl_sync(~0u, thread / (4 * warp_lanes), 0);
  const auto tile = static_cast<int32_t>(blockIdx.x), c_tiles = p.in_channels / c_tile;
  const auto shares = static_cast<int32_t>(gridDim.y);
  const Share share{tile / c_tiles * k_tile, tile % c_tiles * c_tile, static_cast<int32_t>(blockIdx.y), shares};
  const int items = ((p.batch + shares - 1) / shares + T::samples - 1) / T::samples * T::bands;

  for (int i = thread * chunk_bytes; i < static_cast<int>(T::shared_bytes); i += threads * chunk_bytes)
    *reinterpret_cast<uint4*>(stages + i) = uint4{0, 0, 0, 0};
  __syncthreads();
  Sums<squares> sums;
  for (int item = 0; item < T::stages - 1; ++item) {
    if (item < items) load_item<T>(p, share, item, stages + item * T::stage_bytes);
    __pipeline_commit();
  }
  int stage = 0, next = T::stages - 1;
#pragma unroll 1
  for (int item = 0; item < items; ++item) {
    __pipeline_wait_prior(T::stages - 2);
    ptx::publish_to_products();
    __syncthreads();  // the item has arrived, and no thread still reads the stage that is filled next
    if (item + T::stages - 1 < items) load_item<T>(p, share, item + T::stages - 1, stages + next * T::stage_bytes);
    __pipeline_commit();
#pragma unroll 1
    for (int s = 0; s < T::samples; ++s) {
      const unsigned char* sample = stages + stage * T::stage_bytes + s * T::sample_bytes;
      const uint64_t x =
          ptx::shared_operand(sample + T::x_place(warpgroup * c_blocks, 0, 0, 0), T::depth_step, T::column_step);
      const bool first = item % T::bands == 0, last = (item + 1) % T::bands == 0;
#pragma unroll 1
      for (int part = 0; part < T::parts - 1; ++part)
        multiply_part<T, squares, false>(x, sample, part, part == 0 && first, lane, warp, sums);
      if (last)
        multiply_part<T, squares, true>(x, sample, T::parts - 1, T::parts == 1 && first, lane, warp, sums);
      else
        multiply_part<T, squares, false>(x, sample, T::parts - 1, T::parts == 1 && first, lane, warp, sums);
    }
    stage = stage + 1 == T::stages ? 0 : stage + 1;
    next = next + 1 == T::stages ? 0 : next + 1;
  }

  const int k = warp * 16 + lane / 4, c = warpgroup * c_blocks * 8 + lane % 4 * 2;
  store_sums(k, c, sums.gradient, merge.part(share.first, tile, 0));
  if constexpr (squares) store_sums(k, c, sums.square, merge.part(share.first, tile, 1));
  merge_shares(merge, tile, share.first);
}

template <class T>
ShareGrid grid_of(const ConvShape& s) {
  const WeightTiles tiles = filter_tiles(s, k_tile, c_tile);
  return {tiles, std::clamp<int64_t>(blocks_at_work / tiles.count(), 1, divide_up(s.batch, T::samples))};
}

template <class T>
void launch_tiling(Queue& queue, const ConvShape& s, SecondMoment kind, int64_t shares, const uint16_t* x,
                   const uint16_t* grad_y, const WeightSums& to) {
  const Problem problem{x, grad_y, static_cast<int32_t>(s.batch), static_cast<int32_t>(s.in_channels),
                        static_cast<int32_t>(s.out_channels)};
  launch_merged(queue, {grid_of<T>(s).tiles, shares}, to, [&](dim3 blocks, const ShareMerge& merge) {
    launch(queue, kind == SecondMoment::exact ? conv_wgmma_kernel<T, true> : conv_wgmma_kernel<T, false>, blocks,
           threads, T::shared_bytes, problem, merge);
  });
}

template <class T>
inline constexpr WgmmaKernel kernel_of = {&grid_of<T>, &launch_tiling<T>};

// From operands of any type, which are rounded to bf16 first.
ShareGrid rounded_grid(const ConvShape& s) { return conv_wgmma_bf16(s, SecondMoment::none)->grid(s); }
void launch_rounded(Queue& queue, const ConvShape& s, SecondMoment kind, const ConvOperand& x, ConstValues grad_y,
                    const WeightSums& to) {
  NSGD_CHECK(!x.factor, "conv_wgmma takes an array, not the operands of relu(x factor + term)");
  Scratch scratch(queue);
  const auto rounded = [&](int64_t n, ConstValues values) {
    if (values.type == DType::bf16) return static_cast<const uint16_t*>(values.address);
    uint16_t* const copy = scratch.take<uint16_t>(n);
    convert(queue, n, values, {copy, DType::bf16});
    return static_cast<const uint16_t*>(copy);
  };
  const uint16_t* const x16 = rounded(s.batch * s.height * s.width * s.in_channels, x.x);
  const uint16_t* const grad16 = rounded(s.batch * s.positions() * s.out_channels, grad_y);
  conv_wgmma_bf16(s, kind)->launch(queue, s, kind, rounded_grid(s).shares, x16, grad16, to);
}

}  // namespace

const WgmmaKernel* conv_wgmma_bf16(const ConvShape& s, SecondMoment kind) {
  constexpr int64_t most = INT32_MAX / 16;  // samples and channels are counted in 32 bits
  if (s.height != s.width || s.stride_height != 1 || s.stride_width != 1 || s.kernel_height != side ||
      s.kernel_width != side || s.padding_height != 1 || s.padding_width != 1 || s.batch > most ||
      s.in_channels * s.out_channels > most || s.out_channels % k_tile != 0 || s.in_channels % c_tile != 0 ||
      kind == SecondMoment::spatial)
    return nullptr;
  //                         size band samples stages
  switch (s.height) {
    case 4:
      return &kernel_of<Tiling<4, 4, 8, 3>>;
    case 8:
      return &kernel_of<Tiling<8, 8, 4, 3>>;
    case 16:
      return &kernel_of<Tiling<16, 16, 1, 3>>;
    case 32:
      return &kernel_of<Tiling<32, 8, 1, 3>>;
  }
  return nullptr;
}

const ConvKernel* conv_wgmma(const ConvShape& s, SecondMoment kind, Precision precision) {
  static constexpr ConvKernel kernel{&rounded_grid, &launch_rounded};
  return precision == Precision::half && conv_wgmma_bf16(s, kind) ? &kernel : nullptr;
}

}  // namespace noisysgd::kernels::cuda
