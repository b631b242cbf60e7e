// The operations of tensor cores for one warp, in host arithmetic.
#pragma once

#include <cstdint>
#include <cstring>

#include <noisysgd/kernels/emulation/collectives.h>
#include <noisysgd/kernels/emulation/intrinsics.h>
#include <noisysgd/kernels/emulation/rounding.h>

namespace noisysgd::emulation {

inline float bf16_value(uint32_t bits) { return __uint_as_float(bits << 16); }

// A lane's registers of a product D[16,8] = A[16,depth] B[depth,8] + C, with C in d, in the PTX ISA's layout of
// mma.m16n8k8 with .tf32 operands and of mma.m16n8k16 with .bf16 or .f16 operands.
struct MatrixFragments {
  float* d;
  const uint32_t *a, *b;
};
// The product of the warp's lanes. It is not inline, because the race checker would instrument it with the kernel: that
// takes many times as long, and there are no races in registers.
void multiply_tf32(void* const* lanes, unsigned);
void multiply_bf16(void* const* lanes, unsigned);
void multiply_f16(void* const* lanes, unsigned);

inline void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], NSGD_EMULATION_HERE) {
  MatrixFragments fragments{d, a, b};
  warp_collective(~0u, "mma.m16n8k8.tf32", multiply_tf32, &fragments, file, line);
}
inline void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], NSGD_EMULATION_HERE) {
  MatrixFragments fragments{d, a, b};
  warp_collective(~0u, "mma.m16n8k16.bf16", multiply_bf16, &fragments, file, line);
}

inline void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], NSGD_EMULATION_HERE) {
  MatrixFragments fragments{d, a, b};
  warp_collective(~0u, "mma.m16n8k16.f16", multiply_f16, &fragments, file, line);
}

// A lane's part in ldmatrix: lane 8 i + r passes the address of row r (8 elements) of matrix i.
struct MatrixRow {
  uint16_t row[8];
  uint32_t* to;
  int matrices;

  // Each lane reads its own row, so sanitizers attribute the read to it.
  MatrixRow(uint32_t* registers, int count, const uint16_t* address) : row{}, to(registers), matrices(count) {
    if (static_cast<int>(lane()) >= 8 * matrices) return;
    const uint4 words = *reinterpret_cast<const uint4*>(address);
    std::memcpy(row, &words, sizeof words);
  }
  // Gives each lane the pair of elements first, first + 1 of its row of each matrix or, transposed, of its column.
  template <bool transposed>
  static void exchange(void* const* lanes, unsigned) {
    for (int l = 0; l < 32; ++l) {
      auto& own = *static_cast<MatrixRow*>(lanes[l]);
      for (int i = 0; i < own.matrices; ++i) {
        const auto element = [&](int k) -> uint32_t {
          const int r = transposed ? k : l / 4, c = transposed ? l / 4 : k;
          return static_cast<const MatrixRow*>(lanes[8 * i + r])->row[c];
        };
        own.to[i] = element(l % 4 * 2) | element(l % 4 * 2 + 1) << 16;
      }
    }
  }
};

inline void load_matrices(uint32_t (&to)[4], const uint16_t* row, NSGD_EMULATION_HERE) {
  MatrixRow own(to, 4, row);
  warp_collective(~0u, "ldmatrix", MatrixRow::exchange<false>, &own, file, line);
}
inline void load_matrices_transposed(uint32_t* to, int matrices, const uint16_t* row, NSGD_EMULATION_HERE) {
  MatrixRow own(to, matrices, row);
  warp_collective(~0u, "ldmatrix.trans", MatrixRow::exchange<true>, &own, file, line);
}

// Rounds to the nearest bf16, ties to even, like cvt.rn.bf16x2.f32. Returns the 16 bits.
inline uint32_t round_to_bf16(float value) {
  return value != value ? 0x7fffu : __float_as_uint(round_to_fraction(value, bf16_fraction)) >> 16;
}

// Rounds to the nearest tf32, ties to even, like cvt.rn.tf32.f32.
inline uint32_t round_to_tf32(float value) { return __float_as_uint(round_to_fraction(value, tf32_fraction)); }

}  // namespace noisysgd::emulation
