// What tensor cores do for one warp, by host arithmetic.
#pragma once

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
        float matrix_a[16][depth], matrix_b[depth][8], matrix_d[16][8];
        for (int l = 0; l < 32; ++l) {
          const auto& f = *static_cast<const Fragments*>(lanes[l]);
          const int group = l / 4, place = l % 4;
          for (int v = 0; v < values; ++v) {
            const int k = place * values + v;
            for (int i = 0; i < 4; ++i)
              matrix_a[group + i % 2 * 8][k + i / 2 * (depth / 2)] = Operands::value(f.a[i], v);
            for (int i = 0; i < 2; ++i) matrix_b[k + i * (depth / 2)][group] = Operands::value(f.b[i], v);
          }
          for (int i = 0; i < 4; ++i) matrix_d[group + i / 2 * 8][place * 2 + i % 2] = f.d[i];
        }
        for (int row = 0; row < 16; ++row) {
          for (int column = 0; column < 8; ++column) {
            for (int k = 0; k < depth; ++k) matrix_d[row][column] += matrix_a[row][k] * matrix_b[k][column];
          }
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
