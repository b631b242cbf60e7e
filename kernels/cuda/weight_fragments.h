// Shared by the kernels of 3x3 convolutions: their problem, and a warp's sums, 16 m_tiles output channels by 9 taps by
// 8 input channels, distributed over its lanes as in ptx.h.
#pragma once

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/cuda/fast_divide.h>
#include <noisysgd/kernels/cuda/reduce.h>

namespace noisysgd::kernels::cuda {

struct FilterProblem {
  const void *x, *grad_y;  // of the element types of the kernel
  const float* signs;      // [N,K] or null
  float* partial;
  int32_t batch, in_channels, out_channels;
  // The constants of a ConvOperand [groups,C], and the division of samples into groups; null: x itself.
  const float *factor = nullptr, *term = nullptr;
  FastDivide by_group{1};
};

inline FilterProblem filter_problem(const ConvShape& s, const void* x, const void* grad_y, float* partial,
                                    const float* signs = nullptr) {
  return {x,
          grad_y,
          signs,
          partial,
          static_cast<int32_t>(s.batch),
          static_cast<int32_t>(s.in_channels),
          static_cast<int32_t>(s.out_channels)};
}

inline constexpr int filter_taps = 9;

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

// Writes a warp's sums to target [K,3,3,C], from output channel k and input channel c on.
template <int m_tiles>
__device__ void store_fragments(const FilterProblem& p, int32_t k, int32_t c, const FilterFragments<m_tiles>& sums,
                                float* target) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
#pragma unroll
  for (int m = 0; m < m_tiles; ++m)
#pragma unroll
    for (int tap = 0; tap < filter_taps; ++tap)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = k + m * 16 + half * 8 + lane / 4;
        *reinterpret_cast<float2*>(target + (row * filter_taps + tap) * p.in_channels + c + lane % 4 * 2) = {
            sums[m][tap][2 * half], sums[m][tap][2 * half + 1]};
      }
}

}  // namespace noisysgd::kernels::cuda
