#include <noisysgd/kernels/emulation/matrix_multiply.h>

#include <algorithm>
#include <bit>

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

// start + the sum of left[k] right[k] as tensor cores form it (Fasi, Higham, Mikaitis, Pranesh: Numerical behavior of
// NVIDIA tensor cores, 2021). Products are exact. All terms are truncated towards zero to two bits below the last place
// of the largest, and their sum is truncated to 24 bits. Unlike rounding, this biases a long chain of such sums towards
// zero. With two bits, and all of the depth in one sum, a chain of 384 sums in conv_window agreed with an H100 in all
// nine known digits.
template <int depth>
float tensor_core_sum(float start, const float (&left)[depth], const float (&right)[depth]) {
  constexpr int fraction_bits = fp32_fraction + 2;
  const auto exponent = [](double x) { return static_cast<int>(std::bit_cast<uint64_t>(x) >> 52 & 0x7ff) - 1023; };
  double terms[depth + 1] = {start};
  for (int k = 0; k < depth; ++k) terms[k + 1] = static_cast<double>(left[k]) * static_cast<double>(right[k]);
  int largest = -1023;  // the exponent of zero
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
