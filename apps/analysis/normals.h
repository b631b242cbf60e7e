// Standard normal numbers in double precision for analyses, one after the other.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include <noisysgd/kernels/philox.h>

namespace noisysgd {

class Normals {
 public:
  // Streams of different numbers never overlap; each holds 2^33 normals.
  Normals(uint64_t seed, uint32_t stream) : stream_{seed, 0, stream, RandomPurpose::analysis} {}

  // By Box-Muller of two words of 32 bits: |x| <= 6.77.
  double next() {
    if (have_second_) {
      have_second_ = false;
      return second_;
    }
    const std::array<uint32_t, 4> words = random_words(stream_, block_++);
    const double r = std::sqrt(-2 * std::log((words[0] + 0.5) * 0x1p-32)),
                 t = 2 * std::numbers::pi * words[1] * 0x1p-32;
    second_ = r * std::sin(t);
    have_second_ = true;
    return r * std::cos(t);
  }
  // Uniform integer in [0, bound).
  uint32_t below(uint32_t bound) { return below_from_word(random_words(stream_, block_++)[0], bound); }

 private:
  RandomStream stream_;
  uint32_t block_ = 0;
  double second_ = 0;
  bool have_second_ = false;
};

}  // namespace noisysgd
