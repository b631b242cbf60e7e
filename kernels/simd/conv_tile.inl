// The register tile of the per-sample weight gradient: outer products of `channels` values of grad_y and `vectors`
// vectors of taps, accumulated over all positions of a sample without touching memory, then folded into the sum and
// the sum of squares, which stay in the first-level cache over the samples of a block. Registers hold 8x3
// accumulators with 32 of them (AVX-512), 4x3 with 16 and a memory operand (AVX2), 4x2 without one.
#pragma once

#include "kernels/simd/simd_kernels.h"
#include "kernels/simd/vector.inl"

namespace noisysgd::kernels::simd {
namespace {

constexpr int tile_channels = NSGD_VECTOR_BYTES == 64 ? 8 : 4;
constexpr int tile_vectors = NSGD_VECTOR_BYTES == 16 ? 2 : 3;

// Adds the first `count` lanes.
NSGD_INLINE void add_lanes(float* to, Float value, int64_t count) {
  if (count == lanes) return store(to, load<Float>(to) + value);
  float buffer[lanes];
  store(buffer, value);
  for (int64_t i = 0; i < count; ++i) to[i] += buffer[i];
}

template <int channels, int vectors, bool squares>
void conv_tile(const ConvTile& tile) {
  Float sum[channels][vectors] = {};
  Float square[channels][vectors] = {};
  Float gradient[channels][vectors] = {};
  const float* const end = tile.x + tile.samples * tile.x_sample;
  const float* sample_grad = tile.grad_y;
  for (const float* sample = tile.x; sample != end; sample += tile.x_sample, sample_grad += tile.grad_sample) {
    const float* grad = sample_grad;
    for (int64_t i = 0; i < tile.rows; ++i) {
      const float* x = sample + i * tile.x_row;
      for (int64_t j = 0; j < tile.columns; ++j, x += tile.x_column, grad += tile.grad_column) {
        Float taps[vectors];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; ++v) taps[v] = load<Float>(x + tile.tap[v]);
#pragma GCC unroll 8
        for (int k = 0; k < channels; ++k) {
          const Float factor = splat(grad[k]);
#pragma GCC unroll 3
          for (int v = 0; v < vectors; ++v) gradient[k][v] = multiply_add(taps[v], factor, gradient[k][v]);
        }
      }
    }
    if constexpr (squares) {
#pragma GCC unroll 8
      for (int k = 0; k < channels; ++k) {
#pragma GCC unroll 3
        for (int v = 0; v < vectors; ++v) {
          sum[k][v] += gradient[k][v];
          square[k][v] = multiply_add(gradient[k][v], gradient[k][v], square[k][v]);
          gradient[k][v] = Float{};
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int k = 0; k < channels; ++k) {
#pragma GCC unroll 3
    for (int v = 0; v < vectors; ++v) {
      const int64_t at = k * tile.weight_row + tile.weight[v];
      add_lanes(tile.sum + at, squares ? sum[k][v] : gradient[k][v], tile.lanes[v]);
      if constexpr (squares) add_lanes(tile.square + at, square[k][v], tile.lanes[v]);
    }
  }
}

template <bool squares, int channels = tile_channels, int vectors = tile_vectors>
void dispatch_conv_tile(const ConvTile& tile) {
  if (tile.channels == channels && tile.vectors == vectors) return conv_tile<channels, vectors, squares>(tile);
  if constexpr (vectors > 1) {
    if (tile.vectors < vectors) return dispatch_conv_tile<squares, channels, vectors - 1>(tile);
  }
  if constexpr (channels > 1) {
    if (tile.channels < channels) return dispatch_conv_tile<squares, channels - 1, vectors>(tile);
  }
}

void run_conv_tile(const ConvTile& tile) {
  if (tile.square)
    dispatch_conv_tile<true>(tile);
  else
    dispatch_conv_tile<false>(tile);
}

// Whole vectors are copied: what one row writes too much, the next one overwrites.
void pack_patches(const PatchPacking& packing) {
  float* patch = packing.patches;
  for (int64_t i = 0; i < packing.rows; ++i) {
    for (int64_t j = 0; j < packing.columns; ++j, patch += packing.patch_size) {
      const float* x = packing.x + i * packing.x_row + j * packing.x_column;
      float* to = patch;
      for (int64_t r = 0; r < packing.kernel_rows; ++r, x += packing.kernel_row_stride, to += packing.kernel_row) {
        for (int64_t c = 0; c < packing.kernel_row; c += lanes) store(to + c, load<Float>(x + c));
      }
    }
  }
}

void square(int64_t n, const float* x, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * x[i];
}

}  // namespace
}  // namespace noisysgd::kernels::simd
