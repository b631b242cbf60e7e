// Every PTX instruction that the kernels use, as one function with its meaning in C++ for the emulation.
#pragma once

#include "kernels/cuda/gpu.h"

namespace noisysgd::kernels::cuda::ptx {

// sqrt(x), to one unit in the last place.
__device__ __forceinline__ float sqrt_approximate(float x) {
#ifdef __CUDACC__
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return sqrtf(x);
#endif
}

// The nearest tf32, ties to even, as the bits of a float. (Ties away from zero would take five instructions.) GPUs
// before compute capability 9.0 have no such instruction: the same rounding of a finite number by integers.
__device__ __forceinline__ uint32_t round_to_tf32(float x) {
#if defined(__CUDACC__) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900)
  uint32_t bits;
  asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
#elif defined(__CUDACC__)
  const uint32_t bits = __float_as_uint(x), rounded = (bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu;
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : rounded;
#else
  return emulation::round_to_tf32(x);
#endif
}

// d[16,8] += a[16,8] b[8,8] over the warp in tf32 with fp32 sums; with group = lane / 4 and place = lane % 4 the lane
// holds
//   a[i] at (group + 8 (i % 2), place + 4 (i / 2)), b[i] at (place + 4 i, group), d[i] at (group + 8 (i / 2), 2 place +
//   i % 2).
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulation::mma_m16n8k8_tf32(d, a, b);
#endif
}

// Two numbers as bf16 (7 bits of fraction), ties to even: `low` in the low half.
__device__ __forceinline__ uint32_t round_to_bf16x2(float low, float high) {
#ifdef __CUDACC__
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return emulation::round_to_bf16(low) | emulation::round_to_bf16(high) << 16;
#endif
}

// The squares of two bf16, rounded to bf16 again: x x + (-0).
__device__ __forceinline__ uint32_t square_bf16x2(uint32_t pair) {
#ifdef __CUDACC__
  uint32_t squares;
  asm("fma.rn.bf16x2 %0, %1, %1, %2;" : "=r"(squares) : "r"(pair), "r"(0x80008000u));
  return squares;
#else
  const float low = emulation::bf16_value(pair & 0xffffu), high = emulation::bf16_value(pair >> 16);
  return round_to_bf16x2(low * low, high * high);
#endif
}

// d[16,8] += a[16,16] b[16,8] over the warp in bf16 with fp32 sums. Registers hold pairs of depth indices k, k+1:
//   a[i] at (group + 8 (i % 2), k = 2 place + 8 (i / 2)), b[i] at (k = 2 place + 8 i, group), d as above.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef __CUDACC__
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulation::mma_m16n8k16_bf16(d, a, b);
#endif
}

// Loads `matrices` (2 or 4) 8x8 matrices of 16-bit elements from shared memory, each transposed. Lane 8 i + r names row
// r of matrix i, 16 aligned bytes (with two matrices the upper lanes' rows count for nothing); the lane receives
// elements (2 place, group) and (2 place + 1, group) of matrix i in to[i].
template <int matrices>
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[matrices], const uint16_t* row) {
  static_assert(matrices == 2 || matrices == 4);
#ifdef __CUDACC__
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (matrices == 4)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(address)
                 : "memory");
#else
  emulation::load_matrices_transposed(to, matrices, row);
#endif
}

}  // namespace noisysgd::kernels::cuda::ptx
