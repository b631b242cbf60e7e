// Vectorised CPU kernels: one source (kernels.inl) compiled once per instruction set, chosen at run time.
// simd_kernels() returns those of the best set that this processor has; NSGD_ISA=portable|avx2|avx512 forces one.
// Requesting a set that is unknown, not built or not supported throws noisysgd::Error. Noise kernels give the same bits
// on every set; convolution kernels agree up to rounding.
// This header has only plain structs and scalars: the kernels' translation units are compiled with wider instructions,
// and the linker could choose their version of a shared inline function for the whole program.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace noisysgd::kernels::simd {

constexpr int max_tile_scalars = 8, max_tile_vectors = 3;

// One register tile of per-sample weight gradients: a sum of outer products over output positions. One operand is read
// in vectors, the other in scalars: taps of x in lanes and channels of grad_y as scalars, or the other way round.
struct ConvTile {
  struct Operand {
    const float* data;            // sample 0, position (0,0)
    int64_t sample, row, column;  // strides in floats
  };
  Operand vectors, scalars;
  int64_t samples, rows, columns;
  int vector_count, scalar_count;
  int64_t vector_offset[max_tile_vectors], scalar_offset[max_tile_scalars];  // from the operand's position
  int64_t vector_weight[max_tile_vectors], scalar_weight[max_tile_scalars];  // added: index into sum and square
  int64_t lane_begin[max_tile_vectors], lane_end[max_tile_vectors];          // lanes that are written
  int64_t lane_weight;                                                       // weights between lanes
  bool taps_in_lanes;  // scalar_offset = 0, 1, 2, …; lane_weight = 1
  float* sum;          // [K,R,S,C] += sum_n G_n, or null
  // SampleSums of kernels/conv_second_moment.h; the arrays [N,K] begin at the tile's first sample.
  float *square, *signed_sum;  // or null
  const float *tap_mean, *slope, *channel_sum, *channel_product, *signs;
  int64_t channels;  // K
};

// Counter words and key of a Philox stream; the block number comes from the element index.
struct PhiloxKey {
  uint32_t step, tensor, purpose, seed_low, seed_high;
};

// A piece of one parameter tensor, n elements from element `first` (a multiple of 32) on. See kernels/sgd_step.h.
struct SgdPiece {
  int64_t first, n;
  float* value;
  float* velocity;                                                // or null
  const float* gradient_sum;                                      // null: zero, with noise_out only
  const float* second_moment;                                     // or null
  const float* explicit_noise;                                    // or null
  float constant_noise, second_moment_noise, gradient_sum_noise;  // c0, cQ, cS
  float learning_rate, momentum, weight_decay, inverse_batch;
  bool draws_noise, nesterov, noise_after_momentum;
  PhiloxKey key;
  double* norms;     // [2] ||g||^2, ||eps||^2 of this piece, overwritten; or null
  float* noise_out;  // if not null, the noise is written here and nothing else changes
};

struct SimdKernels {
  const char* name;
  int64_t lanes;                       // floats per vector
  int64_t tile_scalars, tile_vectors;  // the largest tile that fits the registers
  void (*conv_tile)(const ConvTile& tile);
  void (*sgd_piece)(const SgdPiece& piece);
  // x[i] = mean + deviation * normal(first+i), x[i] = low + (high-low) * uniform(first+i); first a multiple of 32.
  void (*normal)(const PhiloxKey& key, int64_t first, int64_t n, float mean, float deviation, float* x);
  void (*uniform)(const PhiloxKey& key, int64_t first, int64_t n, float low, float high, float* x);
  void (*words)(const PhiloxKey& key, int64_t first, int64_t n, uint32_t* x);  // the stream's words
  void (*square)(int64_t n, const float* x, float* y);                         // y = x^2
};

enum class Isa { portable, avx2, avx512 };
inline constexpr Isa all_isas[] = {Isa::portable, Isa::avx2, Isa::avx512};

bool supported(Isa isa);
Isa choose_isa(const char* name);  // null or empty: the best one
const SimdKernels& simd_kernels(Isa isa);
const SimdKernels& simd_kernels();  // choose_isa(NSGD_ISA), decided once

// Defined by portable.cpp, avx2.cpp and avx512.cpp, the latter two on x86-64 only.
extern const SimdKernels portable_kernels, avx2_kernels, avx512_kernels;

}  // namespace noisysgd::kernels::simd
