// Work division of the batch normalisation kernels: blocks of threads cover rows of [rows,C] and tiles of channels.
// Sums per channel have a fixed order. Four channels are processed at a time where channel count and addresses allow it
// (`vector`).
#pragma once

#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/sample_sums.h>
#include <noisysgd/kernels/cuda/vector.h>

namespace noisysgd::kernels::cuda {

inline constexpr int max_tile = 4 * warp_lanes;  // maximal number of channels of a block
inline constexpr int merging_threads = 1024;     // merges hundreds of blocks in a few steps

// The part of a thread when a block covers rows of a tile of `width` vectors of channels; width is a power of two, at
// most 32.
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

// Sums over the threads of the block whose indices agree modulo `width` (at most 32); every thread gets its sum. Ends
// with a barrier.
template <int threads, int terms>
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

// Grid of blocks of a group, channel tiles of `width` vectors, and groups.
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

inline dim3 group_channel_grid(const BatchNormShape& shape, int vector) {
  const unsigned blocks = channel_grid(shape.group * shape.positions, shape.channels / vector);
  return dim3(blocks, sample_grid(shape.groups(), blocks));
}

}  // namespace noisysgd::kernels::cuda
