// Channel-wise loops over NHWC data of any channel count, at full vector width. A run of rows [rows,C] is contiguous,
// so it is also a run of wide rows of W = U*C floats: element i belongs to channel i % C. A loop over wide rows
// vectorises for C = 1 and for C = 512 alike. Per-channel operands are repeated U times, and sums are folded over the U
// copies.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace noisysgd::kernels::cpu {

// Loops over wide rows keep this many columns in registers.
inline constexpr int64_t tile_columns = 32;

// Width W of a wide row: C itself from 64 channels on. Otherwise a multiple of C of at least 64 floats, also a multiple
// of tile_columns unless that takes more than 512 floats (too long for L1).
inline int64_t wide_row(int64_t channels) {
  if (channels >= 64) return channels;
  const int64_t whole_tiles = std::lcm(channels, tile_columns);
  if (whole_tiles <= 512) return (64 + whole_tiles - 1) / whole_tiles * whole_tiles;
  return (64 + channels - 1) / channels * channels;
}

// wide[j] = narrow[j % channels]
inline void repeat_channels(const float* narrow, int64_t channels, int64_t width, float* wide) {
  for (int64_t j = 0; j < width; j += channels) std::copy_n(narrow, channels, wide + j);
}

// narrow[c] += sum over copies of wide[c + copy * channels]
template <class Sum>
void fold_channels(const float* wide, int64_t channels, int64_t width, Sum* narrow) {
  for (int64_t j = 0; j < width; j += channels)
    for (int64_t c = 0; c < channels; ++c) narrow[c] += wide[j + c];
}

// wide[j] += sum of x[i] over i < n with i % width == j
void sum_wide_rows(const float* x, int64_t n, int64_t width, float* wide);

}  // namespace noisysgd::kernels::cpu
