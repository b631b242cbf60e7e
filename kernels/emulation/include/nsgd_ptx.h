// The functions of kernels/cuda/ptx.h in C++, for the emulation.
#pragma once

#include <noisysgd/kernels/emulation/matrix_multiply.h>
#include <noisysgd/kernels/emulation/warpgroup_products.h>
#include <noisysgd/kernels/half.h>

namespace noisysgd::kernels::cuda::ptx {

__device__ __forceinline__ float sqrt_approximate(float x) { return sqrtf(x); }

__device__ __forceinline__ uint32_t round_to_tf32(float x) { return emulation::round_to_tf32(x); }

__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::mma_m16n8k8_tf32(d, a, b);
}

__device__ __forceinline__ uint32_t round_to_bf16x2(float low, float high) {
  return emulation::round_to_bf16(low) | emulation::round_to_bf16(high) << 16;
}

__device__ __forceinline__ uint32_t round_to_f16x2(float low, float high) {
  return rounded<Half>(low).bits | uint32_t{rounded<Half>(high).bits} << 16;
}

__device__ __forceinline__ float widen_f16(uint32_t bits) { return widened(Half{static_cast<uint16_t>(bits)}); }

__device__ __forceinline__ uint32_t relu_to_f16x2(float low, float high) {
  return round_to_f16x2(low <= 0 ? 0.0f : low, high <= 0 ? 0.0f : high);
}

__device__ __forceinline__ uint32_t square_bf16x2(uint32_t pair) {
  const float low = emulation::bf16_value(pair & 0xffffu), high = emulation::bf16_value(pair >> 16);
  return round_to_bf16x2(low * low, high * high);
}

__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::mma_m16n8k16_bf16(d, a, b);
}

__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulation::mma_m16n8k16_f16(d, a, b);
}

__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const uint16_t* row) {
  emulation::load_matrices(to, row);
}

template <int matrices>
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[matrices], const uint16_t* row) {
  static_assert(matrices == 2 || matrices == 4);
  emulation::load_matrices_transposed(to, matrices, row);
}

__device__ __forceinline__ uint64_t shared_operand(const void* first, uint32_t depth_step, uint32_t column_step) {
  return emulation::shared_operand(first, depth_step, column_step);
}
__device__ __forceinline__ uint64_t shared_operand_at(uint64_t b, uint32_t bytes) {
  return emulation::shared_operand_at(b, bytes);
}

__device__ __forceinline__ void publish_to_products() { emulation::warpgroup_products().publish(); }

__device__ __forceinline__ void begin_products() { emulation::warpgroup_products().begin(); }

__device__ __forceinline__ void multiply_m64n24k16_bf16(float (&d)[12], const uint32_t (&a)[4], uint64_t b,
                                                        bool accumulate) {
  emulation::warpgroup_products().issue(d, a, b, accumulate);
}

__device__ __forceinline__ void commit_products() { emulation::warpgroup_products().commit(); }

template <int groups_left, class... Sums>
__device__ __forceinline__ void wait_for_products(Sums&... d) {
  emulation::warpgroup_products().wait(groups_left, {d...});
}

}  // namespace noisysgd::kernels::cuda::ptx
