// What tensor cores do for one warp, by host arithmetic.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "tests/emulation/collectives.h"
#include "tests/emulation/intrinsics.h"
#include "tests/emulation/rounding.h"

namespace noisysgd::emulation {

// The units drop the 13 low bits of a tf32 operand.
struct Tf32Operands {
  static constexpr int values = 1;  // of a register
  static constexpr const char* name = "mma.m16n8k8.tf32";
  static float value(uint32_t bits, int) { return __uint_as_float(bits & 0xffffe000u); }
};

inline float bf16_value(uint32_t bits) { return __uint_as_float(bits << 16); }

struct Bf16Operands {
  static constexpr int values = 2;
  static constexpr const char* name = "mma.m16n8k16.bf16";
  static float value(uint32_t bits, int which) { return bf16_value(bits >> (16 * which) & 0xffffu); }
};

// start + the sum of left[k] right[k] as tensor cores form it (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of
// NVIDIA tensor cores, 2021): products are exact; all terms are cut, towards zero, to two bits below the last place of
// the largest; what their sum has beyond 24 bits is cut as well. A long chain of these is biased towards zero, where
// rounding would not be. With two bits and all of the depth at once, a sum of 384 links in conv_window was an H100's to
// all nine digits that were known of it.
template <int depth>
float tensor_core_sum(float start, const float (&left)[depth], const float (&right)[depth]) {
  constexpr int fraction_bits = fp32_fraction + 2;
  const auto exponent = [](double x) { return static_cast<int>(std::bit_cast<uint64_t>(x) >> 52 & 0x7ff) - 1023; };
  double terms[depth + 1] = {start};
  for (int k = 0; k < depth; ++k) terms[k + 1] = static_cast<double>(left[k]) * static_cast<double>(right[k]);
  int largest = -1023;  // that of zero
  for (const double term : terms) largest = std::max(largest, exponent(term));
  if (largest == -1023) return start;
  if (largest > 128) {  // infinite, NaN, or beyond fp32
    double sum = 0;
    for (const double term : terms) sum += term;
    return static_cast<float>(sum);
  }
  const auto power = [](int e) { return std::bit_cast<double>(static_cast<uint64_t>(e + 1023) << 52); };
  const double scale = power(fraction_bits - largest);
  int64_t sum = 0;
  for (const double term : terms) sum += static_cast<int64_t>(term * scale);
  const auto size = static_cast<uint64_t>(sum < 0 ? -sum : sum);
  const int beyond = std::max(0, static_cast<int>(std::bit_width(size)) - (fp32_fraction + 1));
  const auto kept = static_cast<double>(size >> beyond << beyond);
  return static_cast<float>((sum < 0 ? -kept : kept) * power(largest - fraction_bits));
}

// D[16,8] = A[16,8 v] B[8 v,8] + C, with C in d and v values of depth in each register; registers laid out as the PTX
// ISA says for mma.m16n8k8 with .tf32 operands and for mma.m16n8k16 with .bf16 operands.
template <class Operands>
void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file, int line) {
  struct Fragments {
    float* d;
    const uint32_t *a, *b;
  } fragments{d, a, b};
  warp_collective(
      ~0u, Operands::name,
      [](void* const* lanes, unsigned) {
        constexpr int values = Operands::values, depth = 8 * values;
        float matrix_a[16][depth], matrix_b[8][depth], matrix_d[16][8];
        for (int l = 0; l < 32; ++l) {
          const auto& f = *static_cast<const Fragments*>(lanes[l]);
          const int group = l / 4, place = l % 4;
          for (int v = 0; v < values; ++v) {
            const int k = place * values + v;
            for (int i = 0; i < 4; ++i)
              matrix_a[group + i % 2 * 8][k + i / 2 * (depth / 2)] = Operands::value(f.a[i], v);
            for (int i = 0; i < 2; ++i) matrix_b[group][k + i * (depth / 2)] = Operands::value(f.b[i], v);
          }
          for (int i = 0; i < 4; ++i) matrix_d[group + i / 2 * 8][place * 2 + i % 2] = f.d[i];
        }
        for (int row = 0; row < 16; ++row) {
          for (int column = 0; column < 8; ++column)
            matrix_d[row][column] = tensor_core_sum(matrix_d[row][column], matrix_a[row], matrix_b[column]);
        }
        for (int l = 0; l < 32; ++l) {
          const auto& f = *static_cast<const Fragments*>(lanes[l]);
          for (int i = 0; i < 4; ++i) f.d[i] = matrix_d[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
        }
      },
      &fragments, file, line);
}

inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], NSGD_EMULATION_HERE) {
  mma<Tf32Operands>(d, a, b, file, line);
}
inline void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], NSGD_EMULATION_HERE) {
  mma<Bf16Operands>(d, a, b, file, line);
}

// ldmatrix.trans: lane 8 i + r names row r (8 elements) of matrix i; lanes receive columns.
inline void load_matrices_transposed(uint32_t* to, int matrices, const uint16_t* row, NSGD_EMULATION_HERE) {
  struct Exchange {
    uint16_t row[8];
    uint32_t* to;
    int matrices;
  } exchange{{}, to, matrices};
  if (static_cast<int>(lane()) < 8 * matrices) {  // read by the lane that names it, in the sanitizers' eyes too
    const uint4 words = *reinterpret_cast<const uint4*>(row);
    std::memcpy(exchange.row, &words, sizeof words);
  }
  warp_collective(
      ~0u, "ldmatrix",
      [](void* const* lanes, unsigned) {
        for (int l = 0; l < 32; ++l) {
          auto& own = *static_cast<Exchange*>(lanes[l]);
          const auto element = [&](int matrix, int r) -> uint32_t {
            return static_cast<const Exchange*>(lanes[8 * matrix + r])->row[l / 4];
          };
          for (int i = 0; i < own.matrices; ++i) own.to[i] = element(i, l % 4 * 2) | element(i, l % 4 * 2 + 1) << 16;
        }
      },
      &exchange, file, line);
}

// Rounds to the nearest bf16, ties to even: cvt.rn.bf16x2.f32. The 16 bits of the result.
inline uint32_t round_to_bf16(float value) {
  return value != value ? 0x7fffu : __float_as_uint(round_to_fraction(value, bf16_fraction)) >> 16;
}

// Rounds to the nearest tf32, ties to even: cvt.rn.tf32.f32.
inline uint32_t round_to_tf32(float value) { return __float_as_uint(round_to_fraction(value, tf32_fraction)); }

}  // namespace noisysgd::emulation
