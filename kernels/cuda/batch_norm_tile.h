// Work division of the batch normalisation kernels: blocks of threads cover rows of [rows,C] and tiles of channels.
// Sums per channel have a fixed order. The channels of a 16-byte access are processed at a time where channel count and
// addresses allow it (`vector`).
#pragma once

#include <algorithm>

#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/cuda/element.h>
#include <noisysgd/kernels/cuda/last_block.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/sample_sums.h>
#include <noisysgd/kernels/cuda/with_element.h>

namespace noisysgd::kernels::cuda {

inline constexpr int max_tile = 4 * warp_lanes;  // maximal number of channels of a block

// The part of a thread when a block covers rows of a tile of `width` vectors of channels; width is a power of two.
// Sums take width <= 32, the merge of blocks up to max_tile channels (vector = 1).
template <int vector>
struct Tile {
  int64_t column;  // this thread's first channel
  int row, row_step;
  bool in_range;

  __device__ Tile(int64_t channels, int width, unsigned tile)
      : column((int64_t{tile} * width + threadIdx.x % static_cast<unsigned>(width)) * vector),
        row(static_cast<int>(threadIdx.x) / width),
        row_step(block_threads / width),
        in_range(column < channels) {}
};

// Sums over each warp's lanes of the same column, into warp_sums[warp][term][channel of the tile]. Ends with a barrier.
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

struct Affine {
  float mean, scale, shift;
  __device__ float operator()(float x) const { return (x - mean) * scale + shift; }
};

// The affine map of channel c and group; i is their index in [groups,C]. A null gamma means 1, a null beta 0.
__device__ inline Affine affine_of(const float* gamma, const float* beta, const float* mean, const float* inverse_std,
                                   int64_t c, int64_t i) {
  return {mean[i], gamma ? gamma[c] * inverse_std[i] : inverse_std[i], beta ? beta[c] : 0.0f};
}

template <int vector>
struct Affines {
  Affine channel[vector];
};

// Grid of blocks of a group, channel tiles of `width` vectors, and groups. The last block of a group and tile merges
// the others, and the last group's may merge the groups: that takes a counter for each group and tile of a launch, and
// one more for each tile. So a launch may not cover all groups.
struct GroupGrid {
  int width;
  int64_t tiles, groups, at_once;  // at_once: groups of a launch

  GroupGrid(const BatchNormShape& shape, int vector)
      : width(std::min(channel_width(shape.channels / vector), max_tile / vector)),
        tiles(divide_up(shape.channels, int64_t{width} * vector)),
        groups(shape.groups()),
        at_once(std::min(groups, CudaState::most_counters / tiles - 1)) {
    NSGD_CHECK(at_once > 0, "batch norm: {} channels are too many for a CUDA device", shape.channels);
  }
  int64_t counters() const { return (at_once + 1) * tiles; }

  // Calls body(first group, grid) for each launch.
  template <class Body>
  void for_each_launch(int64_t blocks, const Body& body) const {
    for (int64_t first = 0; first < groups; first += at_once)
      body(first, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(tiles),
                       static_cast<unsigned>(std::min(at_once, groups - first))));
  }
};

inline dim3 group_channel_grid(const BatchNormShape& shape, int vector) {
  const unsigned blocks = channel_grid(shape.group * shape.positions, shape.channels / vector);
  return dim3(blocks, sample_grid(shape.groups(), blocks));
}

}  // namespace noisysgd::kernels::cuda
