// All vectorised kernels of one instruction set. Included once per translation unit, after the definition of
// NSGD_VECTOR_BYTES.
#pragma once

#include <noisysgd/kernels/simd/conv_tile.inl>
#include <noisysgd/kernels/simd/random.inl>
#include <noisysgd/kernels/simd/sgd_piece.inl>

namespace noisysgd::kernels::simd {
namespace {

constexpr SimdKernels kernel_table(const char* name) {
  return {name, lanes, tile_scalars, tile_vectors, run_conv_tile, sgd_piece, normal, uniform, random_words, square};
}

}  // namespace
}  // namespace noisysgd::kernels::simd
