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

// ---- Asynchronous products of compute capability 9.0 ----
// The instructions exist in code for sm_90a alone; code for other architectures traps.
//
// A warpgroup, four warps of which the first has a number divisible by four, multiplies d[64,24] = a[64,16] b[16,24]
// (+ d) in bf16 with fp32 sums. Warp w of it holds rows 16 w to 16 w + 15 of a and d, a as in mma_m16n8k16_bf16 and
// columns 8 j to 8 j + 7 of d in d[4 j] to d[4 j + 3], as there. b is read from dynamic shared memory. Order of calls:
//
//   publish_to_products();                       every thread that wrote b, after its writes and before the barrier
//   __syncthreads();
//   begin_products();                            after the last access to the registers of a and d
//   multiply_m64n24k16_bf16(d, a, b, false); …   until the wait no other code may touch d, nor write a and b
//   commit_products();
//   wait_for_products<0>(d);
//
// All threads of a warpgroup make the same calls.

// b for a product: element (k,n) is n % 8 elements behind `first` + k % 8 * 16 + k / 8 * depth_step + n / 8 *
// column_step bytes. `first` and the steps are multiples of 16 bytes; columns may overlap.
__device__ __forceinline__ uint64_t shared_operand(const void* first, uint32_t depth_step, uint32_t column_step);
// The same, from `bytes` further on.
__device__ __forceinline__ uint64_t shared_operand_at(uint64_t b, uint32_t bytes);

// Makes this thread's writes to shared memory, including copies that it has waited for, visible to products.
__device__ __forceinline__ void publish_to_products();
__device__ __forceinline__ void begin_products();
// accumulate: whether d is added.
__device__ __forceinline__ void multiply_m64n24k16_bf16(float (&d)[12], const uint32_t (&a)[4], uint64_t b,
                                                        bool accumulate);
// The products since the last commit become a group.
__device__ __forceinline__ void commit_products();
// Waits for all groups but the last `groups_left`. d: every sum that these groups compute, each a float[12].
template <int groups_left, class... Sums>
__device__ __forceinline__ void wait_for_products(Sums&... d);

}  // namespace noisysgd::kernels::cuda::ptx

#include <nsgd_ptx.h>
