// Every PTX instruction that the kernels use, as one function with its meaning in C++ for the emulation.
#pragma once

#include "kernels/cuda/gpu.h"

namespace noisysgd::kernels::cuda::ptx {

// 2^x, to two units in the last place; subnormal results are zero.
__device__ __forceinline__ float exp2_approximate(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

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

}  // namespace noisysgd::kernels::cuda::ptx
