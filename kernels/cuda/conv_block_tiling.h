// The work division of the conv_block kernels: images in bands and pairs, their operand in shared memory, and what of
// it each lane computes.
#pragma once

#include <algorithm>
#include <cstdint>

#include <noisysgd/kernels/conv_block.h>
#include <noisysgd/kernels/cuda/fast_divide.h>
#include <noisysgd/kernels/cuda/gpu.h>
#include <noisysgd/kernels/cuda/reduce.h>

namespace noisysgd::kernels::cuda::conv_block {

inline constexpr int warps = 8, threads = warps * warp_lanes, taps = 9;
inline constexpr int chunk = 8;           // elements of 16 bytes, the largest copy
inline constexpr int warp_channels = 16;  // output channels of a warp: two of the products' 8 columns
inline constexpr int lane_channels = 4;   // of them in a lane, neighbours
inline constexpr int product_rows = 16;   // positions of a product

// blocks: how many of them share a multiprocessor, which its registers for weights allow.
template <int channels_, int size_, int blocks_>
struct Tiling {
  static constexpr int channels = channels_, size = size_, blocks = blocks_;
  // An item, as ConvBlockShape says: a band of an image, or two images side by side.
  static constexpr int images = std::max(product_rows / size, 1), band = std::min(size, 16), bands = size / band;
  // Warps divide an item by output channels, by columns and by rows.
  static constexpr int channel_groups = channels / warp_channels, column_groups = size * images / product_rows;
  static constexpr int row_groups = warps / (channel_groups * column_groups), rows = band / row_groups;
  static constexpr int depth_steps = channels / 16;  // products that add up the input channels

  // The operand in shared memory, [operand_rows,operand_columns,channels]: each image with a border of zeros or, above
  // and below a band, of the image's next rows.
  static constexpr int operand_rows = band + 2, operand_columns = (size + 2) * images;
  static constexpr int operand_elements = operand_rows * operand_columns * channels;
  // The part of each array that an item reads, [loaded_rows,images,size,channels], in chunks.
  static constexpr int halo = bands > 1 ? 1 : 0, loaded_rows = band + 2 * halo;
  static constexpr int position_chunks = channels / chunk;
  static constexpr int chunks = loaded_rows * images * size * position_chunks;
  static constexpr int thread_chunks = (chunks + threads - 1) / threads;
  static constexpr int raw_elements = thread_chunks * threads * chunk;
  // Items of which copies are under way while one is computed. A block that has a multiprocessor to itself needs two,
  // so that copies never pause.
  static constexpr int raw_stages = blocks == 1 ? 2 : 1;

  static constexpr size_t shared_bytes(int arrays) {  // `arrays` are read to make the operand
    return sizeof(uint16_t) * (raw_stages * arrays * raw_elements + 2 * operand_elements) +
           sizeof(float) * 2 * warps * warp_channels * 4;
  }
  static_assert(channel_groups * column_groups * row_groups == warps && row_groups * rows == band);
  static_assert(threads % position_chunks == 0);  // a thread's chunks have the same channels
};

using Stage1 = Tiling<16, 32, 2>;  // of a ResNet for images of 32x32
using Stage2 = Tiling<32, 16, 1>;
using Stage3 = Tiling<64, 8, 1>;

struct Items {
  int32_t count, group_samples;
  FastDivide group_items;
};

// Offsets of elements fit 32 bits: conv_block_takes sees to that.
template <class T>
struct Item {
  int32_t index, group, sample, band;
  bool full;  // false: the second of two images does not exist

  __device__ Item(const Items& items, int32_t i) : index(i) {
    int32_t within = i;
    group = items.group_items.reduce(within);
    const int32_t first = within / T::bands * T::images;
    sample = group * items.group_samples + first;
    band = within % T::bands;
    full = first + T::images <= items.group_samples;
  }
  __device__ bool has(int image) const { return T::images == 1 || image == 0 || full; }
  __device__ int32_t offset(int image, int row, int column) const {  // row: of the band, may be in its halo
    return (((sample + image) * T::size + band * T::band + row) * T::size + column) * T::channels;
  }
};

// Index of channel 8 c of a position of the operand. Chunks are permuted from column to column, so that the same chunk
// of eight neighbouring columns, which ldmatrix reads at once, lies in different banks.
template <class T>
constexpr int place_of(int row, int column, int c) {
  constexpr int columns_of_all_banks = std::max(64 / T::channels, 1);
  const int turn = column / columns_of_all_banks % T::position_chunks;
  return (row * T::operand_columns + column) * T::channels + (c ^ turn) * chunk;
}
template <class T>
constexpr bool free_of_bank_conflicts() {
  for (int first = 0; first + 8 <= T::operand_columns; ++first)
    for (int c = 0; c < T::position_chunks; ++c) {
      unsigned banks = 0;  // in fours
      for (int column = first; column < first + 8; ++column) banks |= 1u << place_of<T>(1, column, c) / chunk % 8;
      if (banks != 0xffu) return false;
    }
  return true;
}
static_assert(free_of_bank_conflicts<Stage1>() && free_of_bank_conflicts<Stage2>() && free_of_bank_conflicts<Stage3>());

// The part of an item that this lane computes: of each of T::rows rows the two positions that the product gives to it,
// `half` 0 and 1, four neighbouring channels each.
template <class T>
struct LanePart {
  int warp, lane, group, place;  // group and place as in ptx.h
  int channel, column, row;      // the first of each; column and row: of the warp

  __device__ LanePart() {
    warp = static_cast<int>(threadIdx.x) / warp_lanes, lane = static_cast<int>(threadIdx.x) % warp_lanes;
    group = lane / 4, place = lane % 4;
    channel = warp % T::channel_groups * warp_channels + place * lane_channels;
    column = warp / T::channel_groups % T::column_groups * product_rows;
    row = warp / T::channel_groups / T::column_groups * T::rows;
  }
  __device__ static int image(int half) { return T::images == 2 ? half : 0; }
  // Of row 0 and half 0; the others lie at constant distances.
  __device__ int32_t offset(const Item<T>& item) const { return item.offset(0, row, column + group) + channel; }
  __device__ static constexpr int32_t distance(int row, int half) {
    return (row * T::size + half * (T::images == 2 ? T::size * T::size : 8)) * T::channels;
  }
};

}  // namespace noisysgd::kernels::cuda::conv_block
