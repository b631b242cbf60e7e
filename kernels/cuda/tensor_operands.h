// Operands of tensor cores in four formats: d[16,8] += left[16,depth] right[depth,8] over a warp, sums in fp32. With
// group = lane / 4 and place = lane % 4, a lane holds, as registers of `values` operands each (ptx.h),
//   left[i] at row group + 8 (i % 2), right[i] at column group, their value v at depth depth_index(place, half, v)
//   with half = i / 2 for left and i for right; d[i] at (group + 8 (i / 2), 2 place + i % 2).
#pragma once

#include <type_traits>

#include <noisysgd/kernels/cuda/ptx.h>
#include <noisysgd/kernels/half.h>

namespace noisysgd::kernels::cuda {

template <int values_>
struct OperandLayout {
  static constexpr int values = values_, depth = 8 * values;
  __host__ __device__ static constexpr int depth_index(int place, int half, int value) {
    return place * values + value + half * (depth / 2);
  }
};

struct Tf32 : OperandLayout<1> {
  using Register = uint32_t;
  __device__ static Register round(const float (&x)[values]) { return ptx::round_to_tf32(x[0]); }
  __device__ static void multiply(float (&d)[4], const Register (&left)[4], const Register (&right)[2]) {
    ptx::mma_m16n8k8_tf32(d, left, right);
  }
};

struct Bf16 : OperandLayout<2> {
  using Register = uint32_t;
  __device__ static Register round(const float (&x)[values]) { return ptx::round_to_bf16x2(x[0], x[1]); }
  __device__ static void multiply(float (&d)[4], const Register (&left)[4], const Register (&right)[2]) {
    ptx::mma_m16n8k16_bf16(d, left, right);
  }
};

struct F16 : OperandLayout<2> {
  using Register = uint32_t;
  __device__ static Register round(const float (&x)[values]) { return ptx::round_to_f16x2(x[0], x[1]); }
  __device__ static void multiply(float (&d)[4], const Register (&left)[4], const Register (&right)[2]) {
    ptx::mma_m16n8k16_f16(d, left, right);
  }
};

// The format of operands that are stored as Element, Half or BFloat16.
template <class Element>
using OperandFormat = std::conditional_t<std::is_same_v<Element, Half>, F16, Bf16>;

// Single precision: each operand is the sum of two tf32, and three of their products are formed; the omitted one is
// 2^-22 of the whole. Tensor cores truncate sums instead of rounding them, so long sums lose digits: form d of few
// products each and add these up outside the tensor cores.
struct SplitTf32 : OperandLayout<1> {
  struct Register {
    uint32_t big, small;
  };
  __device__ static Register round(const float (&x)[values]) {
    const uint32_t big = ptx::round_to_tf32(x[0]);
    return {big, ptx::round_to_tf32(x[0] - __uint_as_float(big))};
  }
  __device__ static void multiply(float (&d)[4], const Register (&left)[4], const Register (&right)[2]) {
    const uint32_t left_big[4] = {left[0].big, left[1].big, left[2].big, left[3].big};
    const uint32_t left_small[4] = {left[0].small, left[1].small, left[2].small, left[3].small};
    const uint32_t right_big[2] = {right[0].big, right[1].big}, right_small[2] = {right[0].small, right[1].small};
    ptx::mma_m16n8k8_tf32(d, left_small, right_big);
    ptx::mma_m16n8k8_tf32(d, left_big, right_small);
    ptx::mma_m16n8k8_tf32(d, left_big, right_big);
  }
};

// Operands of numbers that are stored as Element: as tf32, those of 16 bits need no rounding.
template <class Format, class Element>
__device__ typename Format::Register operand_of(const float (&x)[Format::values]) {
  if constexpr (std::is_same_v<Format, Tf32> && sizeof(Element) == 2)
    return __float_as_uint(x[0]);
  else
    return Format::round(x);
}

}  // namespace noisysgd::kernels::cuda
