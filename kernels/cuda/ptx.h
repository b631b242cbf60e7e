// Every PTX instruction that the kernels use, as one function: the instruction itself under nvcc, the same operation in
// C++ in the emulation.
#pragma once

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda::ptx {

// sqrt(x), accurate to one unit in the last place.
__device__ __forceinline__ float sqrt_approximate(float x);

// The nearest tf32, ties to even, as the bits of a float. (Ties away from zero would take five instructions.) GPUs
// before compute capability 9.0 have no such instruction; they round finite numbers in the same way with integers.
__device__ __forceinline__ uint32_t round_to_tf32(float x);

// d[16,8] += a[16,8] b[8,8] over the warp in tf32 with fp32 sums. With group = lane / 4 and place = lane % 4, a lane
// holds
//   a[i] at (group + 8 (i % 2), place + 4 (i / 2)), b[i] at (place + 4 i, group), d[i] at (group + 8 (i / 2), 2 place +
//   i % 2).
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// Two numbers rounded to bf16 (7 bits of fraction), ties to even, with `low` in the low half.
__device__ __forceinline__ uint32_t round_to_bf16x2(float low, float high);

// Two numbers rounded to fp16 (10 bits of fraction, subnormal below 2^-14), ties to even, with `low` in the low half.
__device__ __forceinline__ uint32_t round_to_f16x2(float low, float high);

// The same of max(0, low) and max(0, high); NaN stays NaN.
__device__ __forceinline__ uint32_t relu_to_f16x2(float low, float high);

// The fp16 in the low half of a register.
__device__ __forceinline__ float widen_f16(uint32_t bits);

// The squares of two bf16, rounded to bf16 again: x x + (-0).
__device__ __forceinline__ uint32_t square_bf16x2(uint32_t pair);

// d[16,8] += a[16,16] b[16,8] over the warp in bf16 with fp32 sums. Registers hold pairs of depth indices k, k+1:
//   a[i] at (group + 8 (i % 2), k = 2 place + 8 (i / 2)), b[i] at (k = 2 place + 8 i, group), d as above.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// The same with operands in fp16.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// Loads four 8x8 matrices of 16-bit elements from shared memory. `row` in lane 8 i + r is the address of row r of
// matrix i, 16 aligned bytes. A lane receives elements (group, 2 place) and (group, 2 place + 1) of matrix i in to[i].
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const uint16_t* row);

// Loads `matrices` (2 or 4) 8x8 matrices of 16-bit elements from shared memory, each transposed. `row` in lane 8 i + r
// is the address of row r of matrix i, 16 aligned bytes (with two matrices, `row` is ignored in the upper lanes). A
// lane receives elements (2 place, group) and (2 place + 1, group) of matrix i in to[i].
template <int matrices>
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[matrices], const uint16_t* row);

}  // namespace noisysgd::kernels::cuda::ptx

#include <nsgd_ptx.h>
