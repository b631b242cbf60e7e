#include <noisysgd/kernels/emulation/matrix_multiply.h>

#include <noisysgd/kernels/emulation/tensor_core_sum.h>
#include <noisysgd/kernels/half.h>

namespace noisysgd::emulation {

namespace {

// Tensor cores ignore the 13 low bits of a tf32 operand.
struct Tf32Operands {
  static constexpr int values = 1;  // of a register
  static float value(uint32_t bits, int) { return __uint_as_float(bits & 0xffffe000u); }
};

struct Bf16Operands {
  static constexpr int values = 2;
  static float value(uint32_t bits, int which) { return bf16_value(bits >> (16 * which) & 0xffffu); }
};

struct F16Operands {
  static constexpr int values = 2;
  static float value(uint32_t bits, int which) {
    return kernels::widened(kernels::Half{static_cast<uint16_t>(bits >> (16 * which))});
  }
};

template <class Operands>
void multiply(void* const* lanes) {
  constexpr int values = Operands::values, depth = 8 * values;
  float matrix_a[16][depth], matrix_b[8][depth], matrix_d[16][8];
  for (int l = 0; l < 32; ++l) {
    const auto& f = *static_cast<const MatrixFragments*>(lanes[l]);
    const int group = l / 4, place = l % 4;
    for (int v = 0; v < values; ++v) {
      const int k = place * values + v;
      for (int i = 0; i < 4; ++i) matrix_a[group + i % 2 * 8][k + i / 2 * (depth / 2)] = Operands::value(f.a[i], v);
      for (int i = 0; i < 2; ++i) matrix_b[group][k + i * (depth / 2)] = Operands::value(f.b[i], v);
    }
    for (int i = 0; i < 4; ++i) matrix_d[group + i / 2 * 8][place * 2 + i % 2] = f.d[i];
  }
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column)
      matrix_d[row][column] = tensor_core_sum(matrix_d[row][column], matrix_a[row], matrix_b[column]);
  }
  for (int l = 0; l < 32; ++l) {
    const auto& f = *static_cast<const MatrixFragments*>(lanes[l]);
    for (int i = 0; i < 4; ++i) f.d[i] = matrix_d[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
  }
}

}  // namespace

void multiply_tf32(void* const* lanes, unsigned) { multiply<Tf32Operands>(lanes); }
void multiply_bf16(void* const* lanes, unsigned) { multiply<Bf16Operands>(lanes); }
void multiply_f16(void* const* lanes, unsigned) { multiply<F16Operands>(lanes); }

}  // namespace noisysgd::emulation
