// The tensor cores' product of one warp, by host arithmetic.
#pragma once

#include <cstdint>

#include "tests/emulation/collectives.h"
#include "tests/emulation/intrinsics.h"
#include "tests/emulation/rounding.h"

namespace noisysgd::emulation {

// D[16,8] = A[16,8] B[8,8] + C, with C in d; registers laid out as the PTX ISA says for mma.m16n8k8 with .tf32
// operands. The units drop the 13 low bits of an operand.
inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], NSGD_EMULATION_HERE) {
  struct Fragments {
    float* d;
    const uint32_t *a, *b;
  } fragments{d, a, b};
  warp_collective(
      ~0u, "mma.m16n8k8.tf32",
      [](void* const* lanes, unsigned) {
        const auto operand = [](uint32_t bits) { return __uint_as_float(bits & 0xffffe000u); };
        float matrix_a[16][8], matrix_b[8][8], matrix_d[16][8];
        for (int l = 0; l < 32; ++l) {
          const auto& f = *static_cast<const Fragments*>(lanes[l]);
          const int group = l / 4, place = l % 4;
          for (int i = 0; i < 4; ++i) matrix_a[group + i % 2 * 8][place + i / 2 * 4] = operand(f.a[i]);
          for (int i = 0; i < 2; ++i) matrix_b[place + i * 4][group] = operand(f.b[i]);
          for (int i = 0; i < 4; ++i) matrix_d[group + i / 2 * 8][place * 2 + i % 2] = f.d[i];
        }
        for (int row = 0; row < 16; ++row) {
          for (int column = 0; column < 8; ++column) {
            for (int k = 0; k < 8; ++k) matrix_d[row][column] += matrix_a[row][k] * matrix_b[k][column];
          }
        }
        for (int l = 0; l < 32; ++l) {
          const auto& f = *static_cast<const Fragments*>(lanes[l]);
          for (int i = 0; i < 4; ++i) f.d[i] = matrix_d[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
        }
      },
      &fragments, file, line);
}

// Rounds to the nearest tf32, ties to even: cvt.rn.tf32.f32.
inline uint32_t round_to_tf32(float value) { return __float_as_uint(round_to_fraction(value, tf32_fraction)); }

}  // namespace noisysgd::emulation
