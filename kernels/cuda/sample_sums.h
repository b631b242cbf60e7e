// Per-sample sums over the positions of NHWC data, channel by channel, for the gradients and second moments of biases
// and of batch normalisation. A warp processes one sample at a time; its lanes cover `width` channels (a power of two,
// at most 32) and divide the positions among them when there are fewer channels than lanes. Sums over one sample are
// formed in float; sums of these and of their squares over samples in double. The order is always the same.
#pragma once

#include <algorithm>
#include <bit>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/reduce.h>

namespace noisysgd::kernels::cuda {

inline constexpr int warps_per_block = block_threads / warp_lanes;

// The number of channels that one warp covers.
inline int channel_width(int64_t channels) {
  return static_cast<int>(std::bit_ceil(static_cast<uint64_t>(std::min<int64_t>(channels, warp_lanes))));
}

// Sums this lane's share of sample n: load(i, sums) adds to sums[term] the contribution of the row whose channel 0 is
// element i. Lanes whose indices agree modulo `width` have parts of the same channel.
template <int terms, class Load>
__device__ void sum_positions(int64_t n, int64_t positions, int64_t channels, int width, const Load& load,
                              float (&sums)[terms]) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, position_groups = warp_lanes / width;
#pragma unroll 4
  for (int64_t t = lane / width; t < positions; t += position_groups) load((n * positions + t) * channels, sums);
}

// Calls write(n, channel, sums) once for every sample and channel. Grid: channel tiles, any number of blocks.
template <int terms, class Load, class Write>
__device__ void for_each_sample(int64_t samples, int64_t positions, int64_t channels, int width, const Load& load,
                                const Write& write) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, warp = static_cast<int>(threadIdx.x) / warp_lanes;
  const int64_t channel = int64_t{blockIdx.x} * width + lane % width;
  for (int64_t n = int64_t{blockIdx.y} * warps_per_block + warp; n < samples;
       n += int64_t{gridDim.y} * warps_per_block) {
    float sums[terms] = {};
    if (channel < channels)
      sum_positions(
          n, positions, channels, width, [&](int64_t row, float(&s)[terms]) { load(n, channel, row + channel, s); },
          sums);
    for (float& sum : sums) sum = sum_lanes(sum, width);
    if (lane < width && channel < channels) write(n, channel, sums);
  }
}
inline dim3 sample_channel_grid(int64_t samples, int64_t channels) {
  const int64_t tiles = divide_up(channels, channel_width(channels));
  return dim3(static_cast<unsigned>(tiles), sample_grid(divide_up(samples, warps_per_block), tiles));
}

// Sums over samples [first, last) of the block: sum_sample(n, sums) adds to sums[term] this lane's share of sample n,
// as sum_positions does. totals[2*term] becomes the sum of the samples' sums, totals[2*term+1] the sum of their
// squares, valid in the lanes of warp 0 below `width`. in_range: this lane has a channel. Every thread of the block
// must call it.
template <int terms, class SumSample>
__device__ void sum_samples(int64_t first, int64_t last, int width, bool in_range, const SumSample& sum_sample,
                            double (&totals)[2 * terms]) {
  GPU_SHARED(double, warp_totals, [warps_per_block][warp_lanes][2 * terms]);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, warp = static_cast<int>(threadIdx.x) / warp_lanes;
  for (double& total : totals) total = 0;
  for (int64_t n = first + warp; n < last; n += warps_per_block) {
    float sums[terms] = {};
    if (in_range) sum_sample(n, sums);
    for (int term = 0; term < terms; ++term) {
      const double sum = sum_lanes(double{sums[term]}, width);
      totals[2 * term] += sum;
      totals[2 * term + 1] += sum * sum;
    }
  }
  for (int term = 0; term < 2 * terms; ++term) warp_totals[warp][lane][term] = totals[term];
  __syncthreads();
  if (warp == 0)
    for (int other = 1; other < warps_per_block; ++other)
      for (int term = 0; term < 2 * terms; ++term) totals[term] += warp_totals[other][lane][term];
}

// Sums over the threads of the block whose indices agree modulo `width` (a power of two, at most block_threads). The
// sums are valid in the threads below `width`. A barrier must come before the next call.
template <int terms>
__device__ void sum_columns(double (&values)[terms], int width) {
  GPU_SHARED(double, warp_sums, [warps_per_block][terms][warp_lanes]);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes, warp = static_cast<int>(threadIdx.x) / warp_lanes;
  for (int term = 0; term < terms; ++term)
    warp_sums[warp][term][lane] = sum_lanes(values[term], min(width, warp_lanes));
  __syncthreads();
  const int warp_step = max(width / warp_lanes, 1);  // between warps of the same columns
  if (static_cast<int>(threadIdx.x) < width)
    for (int term = 0; term < terms; ++term) {
      values[term] = 0;
      for (int i = warp; i < warps_per_block; i += warp_step) values[term] += warp_sums[i][term][lane];
    }
}

}  // namespace noisysgd::kernels::cuda
