// Floats stored in 16 bits: fp16 (5 bits of exponent, 10 of fraction, up to 65504) and bf16 (8 and 7, the upper half of
// an fp32). Ops compute in fp32; these types only store. Conversion to them rounds to nearest, ties to even: values
// beyond the largest become infinite, small ones subnormal, NaN becomes 0x7fff. Conversion from them is exact.
// The functions here are the host's; kernels on a GPU use those of kernels/cuda/ptx.h, which give the same bits.
#pragma once

#include <bit>
#include <cstdint>

namespace noisysgd::kernels {

struct Half {
  uint16_t bits;
  friend bool operator==(Half, Half) = default;
};
struct BFloat16 {
  uint16_t bits;
  friend bool operator==(BFloat16, BFloat16) = default;
};

// The conversions choose between results that they have all computed, so that loops over them become vectors.
template <class T>
constexpr T rounded(float value);

template <>
constexpr Half rounded<Half>(float value) {
  constexpr uint32_t least_normal = 0x38800000;     // 2^-14
  constexpr uint32_t first_infinite = 0x477ff000;   // 65520, halfway between the largest number and the next
  constexpr uint32_t exponent_change = 112u << 23;  // the biases are 127 and 15
  constexpr float half = 0.5f;                      // its unit in the last place is 2^-24, that of a subnormal
  const uint32_t bits = std::bit_cast<uint32_t>(value), size = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
  const uint32_t normal = (size + 0xfffu + (size >> 13 & 1u) - exponent_change) >> 13;
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(size < least_normal ? size : 0u) + half) -
                             std::bit_cast<uint32_t>(half);
  const uint32_t finite = size < least_normal ? subnormal : normal;
  const uint32_t number = size < first_infinite ? finite : 0x7c00u;
  return {static_cast<uint16_t>(size > 0x7f800000u ? 0x7fffu : sign | number)};
}

template <>
constexpr BFloat16 rounded<BFloat16>(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), size = bits & 0x7fffffffu;
  const uint32_t number = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return {static_cast<uint16_t>(size > 0x7f800000u ? 0x7fffu : number)};
}

constexpr float widened(Half value) {
  const uint32_t sign = (value.bits & 0x8000u) << 16, size = value.bits & 0x7fffu, exponent = size >> 10;
  const uint32_t normal = (size << 13) + (112u << 23), special = (size << 13) + (224u << 23);
  const uint32_t subnormal = std::bit_cast<uint32_t>(static_cast<float>(size) * 0x1p-24f);
  const uint32_t number = exponent == 31 ? special : exponent == 0 ? subnormal : normal;
  return std::bit_cast<float>(sign | number);
}

constexpr float widened(BFloat16 value) { return std::bit_cast<float>(uint32_t{value.bits} << 16); }

}  // namespace noisysgd::kernels
