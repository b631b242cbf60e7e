// Shared by the kernels of 3x3 convolutions: their problem, and a warp's sums, 16 m_tiles output channels by 9 taps by
// 8 input channels, distributed over its lanes as in ptx.h.
#pragma once

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/cuda/fast_divide.h>
#include <noisysgd/kernels/cuda/reduce.h>
#include <noisysgd/kernels/cuda/weight_tiles.h>

namespace noisysgd::kernels::cuda {

struct FilterProblem {
  const void *x, *grad_y;  // of the element types of the kernel
  const float* signs;      // [N,K] or null
  int32_t batch, in_channels, out_channels;
  // The constants of a ConvOperand [groups,C], and the division of samples into groups; null: x itself.
  const float *factor = nullptr, *term = nullptr;
  FastDivide by_group{1};
};

inline FilterProblem filter_problem(const ConvShape& s, const void* x, const void* grad_y,
                                    const float* signs = nullptr) {
  return {x,
          grad_y,
          signs,
          static_cast<int32_t>(s.batch),
          static_cast<int32_t>(s.in_channels),
          static_cast<int32_t>(s.out_channels)};
}

inline constexpr int filter_taps = 9;

// Tiles of k_tile output channels, all taps and c_tile input channels. The channels must be whole tiles.
inline WeightTiles filter_tiles(const ConvShape& s, int k_tile, int c_tile) {
  return {static_cast<int32_t>(s.out_channels) * filter_taps, static_cast<int32_t>(s.in_channels), k_tile * filter_taps,
          c_tile};
}

template <int m_tiles>
using FilterFragments = float[m_tiles][filter_taps][4];

// sums += part; part = 0.
template <int m_tiles>
__device__ void move_sums(FilterFragments<m_tiles>& part, FilterFragments<m_tiles>& sums) {
#pragma unroll
  for (int m = 0; m < m_tiles; ++m)
#pragma unroll
    for (int tap = 0; tap < filter_taps; ++tap)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[m][tap][i] += part[m][tap][i];
        part[m][tap][i] = 0;
      }
}

// Writes a warp's sums to a tile [output channels,9,pitch], from output channel k and input channel c of it on.
template <int m_tiles>
__device__ void store_fragments(int k, int c, const FilterFragments<m_tiles>& sums, float* tile, int pitch) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
#pragma unroll
  for (int m = 0; m < m_tiles; ++m)
#pragma unroll
    for (int tap = 0; tap < filter_taps; ++tap)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = k + m * 16 + half * 8 + lane / 4;
        *reinterpret_cast<float2*>(tile + (row * filter_taps + tap) * pitch + c + lane % 4 * 2) = {
            sums[m][tap][2 * half], sums[m][tap][2 * half + 1]};
      }
}

}  // namespace noisysgd::kernels::cuda
