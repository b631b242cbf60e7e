// The register tile of the per-sample weight gradient: outer products of `scalars` values of one operand and `vectors`
// vectors of the other, accumulated over all positions of a sample in registers, then added to the sum and the other
// sums over samples, which stay in the L1 cache over the samples of a block. There are 8x3 accumulators with 32
// registers (AVX-512), 4x3 with 16 and a memory operand (AVX2), and 4x2 without a memory operand.
#pragma once

#include <noisysgd/kernels/simd/simd_kernels.h>
#include <noisysgd/kernels/simd/vector.inl>

namespace noisysgd::kernels::simd {
namespace {

constexpr int tile_scalars = NSGD_VECTOR_BYTES == 64 ? 8 : 4;
constexpr int tile_vectors = NSGD_VECTOR_BYTES == 16 ? 2 : 3;

// to[lane*stride] += value[lane] for lanes begin .. end-1
NSGD_INLINE void add_lanes(float* to, Float value, int64_t begin, int64_t end, int64_t stride) {
  if (stride == 1 && end - begin == lanes) return store(to, load<Float>(to) + value);
  float buffer[lanes];
  store(buffer, value);
  for (int64_t lane = begin; lane < end; ++lane) to[lane * stride] += buffer[lane];
}

template <int scalars, int vectors>
using TileSums = Float[scalars][vectors];

NSGD_INLINE Float gather_lanes(const float* from, int64_t begin, int64_t end, int64_t stride) {
  float buffer[lanes] = {};
  for (int64_t lane = begin; lane < end; ++lane) buffer[lane] = from[lane * stride];
  return load<Float>(buffer);
}

// The values in `row` [K] of the output channels of accumulator [k][v].
template <bool taps_in_lanes>
NSGD_INLINE Float channel_values(const ConvTile& tile, const float* row, int k, int v) {
  return taps_in_lanes ? splat(row[tile.scalar_offset[k]]) : load<Float>(row + tile.vector_offset[v]);
}

// The tile's parts of tap_mean and slope.
template <int scalars, int vectors, bool taps_in_lanes>
void load_centering(const ConvTile& tile, TileSums<scalars, vectors>& mean, TileSums<scalars, vectors>& slope) {
  for (int k = 0; k < scalars; ++k)
    for (int v = 0; v < vectors; ++v) {
      const int64_t begin = tile.lane_begin[v], end = tile.lane_end[v];
      mean[k][v] = taps_in_lanes ? gather_lanes(tile.tap_mean + tile.vector_weight[v], begin, end, 1)
                                 : splat(tile.tap_mean[tile.scalar_weight[k]]);
      slope[k][v] =
          gather_lanes(tile.slope + tile.scalar_weight[k] + tile.vector_weight[v], begin, end, tile.lane_weight);
    }
}

template <int scalars, int vectors, bool taps_in_lanes>
void conv_tile(const ConvTile& tile) {
  TileSums<scalars, vectors> sum = {}, square = {}, signed_sum = {}, mean = {}, slope = {};
  if (tile.slope) load_centering<scalars, vectors, taps_in_lanes>(tile, mean, slope);
  for (int64_t n = 0; n < tile.samples; ++n) {
    Float gradient[scalars][vectors] = {};
    for (int64_t i = 0; i < tile.rows; ++i) {
      const float* vector = tile.vectors.data + n * tile.vectors.sample + i * tile.vectors.row;
      const float* scalar = tile.scalars.data + n * tile.scalars.sample + i * tile.scalars.row;
      for (int64_t j = 0; j < tile.columns; ++j) {
        Float loaded[vectors];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; ++v) loaded[v] = load<Float>(vector + tile.vector_offset[v]);
#pragma GCC unroll 8
        for (int k = 0; k < scalars; ++k) {
          const Float factor = splat(scalar[taps_in_lanes ? k : tile.scalar_offset[k]]);
#pragma GCC unroll 3
          for (int v = 0; v < vectors; ++v) gradient[k][v] = multiply_add(loaded[v], factor, gradient[k][v]);
        }
        vector += tile.vectors.column;
        scalar += tile.scalars.column;
      }
    }
#pragma GCC unroll 8
    for (int k = 0; k < scalars; ++k) {
#pragma GCC unroll 3
      for (int v = 0; v < vectors; ++v) {
        sum[k][v] += gradient[k][v];
        if (tile.signed_sum) {
          const Float signs = channel_values<taps_in_lanes>(tile, tile.signs + n * tile.channels, k, v);
          signed_sum[k][v] = multiply_add(signs, gradient[k][v], signed_sum[k][v]);
        }
        if (tile.slope) {
          const int64_t row = n * tile.channels;
          gradient[k][v] -= mean[k][v] * channel_values<taps_in_lanes>(tile, tile.channel_sum + row, k, v);
          gradient[k][v] -= slope[k][v] * channel_values<taps_in_lanes>(tile, tile.channel_product + row, k, v);
        }
        if (tile.square) square[k][v] = multiply_add(gradient[k][v], gradient[k][v], square[k][v]);
      }
    }
  }
  for (int k = 0; k < scalars; ++k) {
    for (int v = 0; v < vectors; ++v) {
      const int64_t at = tile.scalar_weight[k] + tile.vector_weight[v];
      const int64_t begin = tile.lane_begin[v], end = tile.lane_end[v], stride = taps_in_lanes ? 1 : tile.lane_weight;
      if (tile.sum) add_lanes(tile.sum + at, sum[k][v], begin, end, stride);
      if (tile.square) add_lanes(tile.square + at, square[k][v], begin, end, stride);
      if (tile.signed_sum) add_lanes(tile.signed_sum + at, signed_sum[k][v], begin, end, stride);
    }
  }
}

template <bool taps_in_lanes, int scalars = tile_scalars, int vectors = tile_vectors>
void dispatch_conv_tile(const ConvTile& tile) {
  if (tile.scalar_count == scalars && tile.vector_count == vectors)
    return conv_tile<scalars, vectors, taps_in_lanes>(tile);
  if constexpr (vectors > 1) {
    if (tile.vector_count < vectors) return dispatch_conv_tile<taps_in_lanes, scalars, vectors - 1>(tile);
  }
  if constexpr (scalars > 1) {
    if (tile.scalar_count < scalars) return dispatch_conv_tile<taps_in_lanes, scalars - 1, vectors>(tile);
  }
}

void run_conv_tile(const ConvTile& tile) {
  if (tile.taps_in_lanes)
    dispatch_conv_tile<true>(tile);
  else
    dispatch_conv_tile<false>(tile);
}

void square(int64_t n, const float* x, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * x[i];
}

}  // namespace
}  // namespace noisysgd::kernels::simd
