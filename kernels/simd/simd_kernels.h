// Own vectorised CPU kernels: one text (kernels.inl) compiled once per instruction set, chosen at run time.
// simd_kernels() is the best set this processor has; NSGD_ISA=portable|avx2|avx512 forces one. Asking for a set that is
// unknown, not built or not supported throws noisysgd::Error. Noise kernels give the same bits on every set;
// convolution kernels agree up to rounding. Only plain structs and scalars here: the kernels' translation units are
// compiled with wider instructions, and a function shared with them could be linked in their version everywhere.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace noisysgd::kernels::simd {

// One register tile of per-sample weight gradients G[k,p] = sum_t grad_y[t,k] x[t,p]: `channels` output channels k
// times `vectors` vectors of consecutive taps p, summed over the rows x columns output positions t of one sample at a
// time.
struct ConvTile {
  const float* x;       // halo-padded samples; vector v of position (i,j) is at x + tap[v] + i*x_row + j*x_column
  const float* grad_y;  // [samples,rows,columns,*] at the first channel of the tile
  int64_t first_channel;
  int64_t samples, rows, columns;
  int64_t x_sample, x_row, x_column;  // strides in floats
  int64_t grad_sample, grad_column;
  int64_t tap[3];      // where in x each vector starts
  int64_t weight[3];   // where in a row of the result each vector belongs
  int64_t lanes[3];    // how many of its lanes are taps
  int64_t weight_row;  // floats between the results of successive channels
  float* sum;          // += sum_n G_n
  float* square;       // += sum_n G_n^2, or null
  int channels, vectors;
};

// Copies the patch under the kernel of every position of a halo-padded sample into patches [rows,columns,patch_size].
// Rows are copied in whole vectors: one vector beyond the end of either side must be accessible.
struct PatchPacking {
  const float* x;
  int64_t rows, columns, x_row, x_column;              // positions and their strides in x
  int64_t kernel_rows, kernel_row, kernel_row_stride;  // R, S*C and the distance between rows of x
  int64_t patch_size;
  float* patches;
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
  double* norms;     // [2] ||g||^2, ||eps||^2 of this piece, overwritten, or null
  float* noise_out;  // noise alone: written here, nothing else changes; or null
};

struct SimdKernels {
  const char* name;
  int64_t lanes;          // floats per vector
  int64_t tile_channels;  // largest ConvTile::channels; ConvTile::vectors is at most 3 (2 where registers are few)
  int64_t tile_vectors;
  void (*conv_tile)(const ConvTile& tile);
  void (*pack_patches)(const PatchPacking& packing);
  void (*sgd_piece)(const SgdPiece& piece);
  // x[i] = mean + deviation * normal(first+i), x[i] = low + (high-low) * uniform(first+i); first a multiple of 32.
  void (*normal)(const PhiloxKey& key, int64_t first, int64_t n, float mean, float deviation, float* x);
  void (*uniform)(const PhiloxKey& key, int64_t first, int64_t n, float low, float high, float* x);
  void (*words)(const PhiloxKey& key, int64_t first, int64_t n, uint32_t* x);  // of the stream, unchanged
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
