// Standard normals in fp64 from the words that kernels/random.h names: Box-Muller on the pair of words around each.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include <noisysgd/kernels/philox.h>

namespace noisysgd::test {

struct NormalReference {
  double radius, value;
};

inline NormalReference normal_reference(const RandomStream& stream, uint64_t i) {
  const uint32_t a = random_word(stream, i / 2 * 2), b = random_word(stream, i / 2 * 2 + 1);
  const float u = (static_cast<float>(a) + 0.5f) * 0x1p-32f;  // rounded to float: part of the definition
  const double radius = std::sqrt(-2 * std::log(static_cast<double>(u)));
  const double angle = 2 * std::numbers::pi * (b * 0x1p-32);
  return {radius, radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle))};
}

}  // namespace noisysgd::test
