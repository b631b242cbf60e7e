// Work division of kernels: blocks of one size, grids no larger than needed to keep a large GPU busy, and loops that
// stride over the remaining elements.
#pragma once

#include <algorithm>
#include <cstdint>

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

inline constexpr int block_threads = 256;
inline constexpr int64_t busy_blocks = 2048;  // about 8 blocks of 256 threads on each of 256 multiprocessors

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks of a grid-stride loop over n > 0 threads.
inline unsigned grid_size(int64_t n) {
  return static_cast<unsigned>(std::min(divide_up(n, block_threads), busy_blocks));
}

// Second grid dimension for a loop over `samples`, each of which takes `blocks` blocks.
inline unsigned sample_grid(int64_t samples, int64_t blocks) {
  return static_cast<unsigned>(std::clamp<int64_t>(busy_blocks / blocks, 1, std::min<int64_t>(samples, 65535)));
}

// Calls body(i) for this thread's indices i in [0, n).
template <class Body>
__device__ void grid_stride(int64_t n, const Body& body) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) body(i);
}

// The same over samples of `size` elements each: calls body(sample, i), with the sample from the grid's second
// dimension and element i within it.
template <class Body>
__device__ void sample_stride(int64_t samples, int32_t size, const Body& body) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x;
  for (int64_t sample = blockIdx.y; sample < samples; sample += gridDim.y)
    for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < size; i += stride)
      body(sample, static_cast<int32_t>(i));
}

// The same over the elements i of [rows,channels]: calls body(i, channel). Every thread keeps one channel, so that
// prepare(channel) loads its operands once. The grid must have at least `channels` threads (channel_grid).
template <class Prepare, class Body>
__device__ void channel_stride(int64_t rows, int64_t channels, const Prepare& prepare, const Body& body) {
  const int64_t stride = int64_t{gridDim.x} * blockDim.x / channels * channels;
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (first >= stride || first >= rows * channels) return;
  const auto operand = prepare(first % channels);
  for (int64_t i = first; i < rows * channels; i += stride) body(i, operand);
}

inline unsigned channel_grid(int64_t rows, int64_t channels) {
  return static_cast<unsigned>(std::max<int64_t>(std::min(divide_up(rows * channels, block_threads), busy_blocks),
                                                 divide_up(channels, block_threads)));
}

}  // namespace noisysgd::kernels::cuda
