#include "kernels/signs.h"

#include <array>

#include "kernels/parallel.h"

namespace noisysgd::kernels::cpu {
namespace {

// Signs of one stream; neighbouring indices share a Philox block of 128 bits.
class Signs {
 public:
  explicit Signs(const RandomStream& stream) : stream_(stream) {}

  // -scale or +scale
  float at(uint64_t index, float scale) {
    const uint64_t block = index / 128;
    if (block != block_) {
      words_ = random_words(stream_, static_cast<uint32_t>(block));
      block_ = block;
    }
    return words_[index / 32 % 4] >> (index % 32) & 1u ? -scale : scale;
  }

 private:
  const RandomStream& stream_;
  uint64_t block_ = ~uint64_t{0};
  std::array<uint32_t, 4> words_{};
};

}  // namespace

void multiply_signs(Queue& queue, int64_t samples, int64_t positions, int64_t channels, SignGrain grain, float scale,
                    const RandomStream& stream, uint64_t sample_offset, const float* x, float* y) {
  NSGD_CHECK(grain != SignGrain::none, "multiply_signs: no grain for {} samples", samples);
  const auto t_count = static_cast<uint64_t>(positions), k_count = static_cast<uint64_t>(channels);
  parallel_blocks(queue, samples, samples * positions * channels, [&](int64_t n, int64_t) {
    Signs signs(stream);
    const uint64_t m = sample_offset + static_cast<uint64_t>(n);
    for (uint64_t t = 0; t < t_count; ++t) {
      const int64_t row = (n * positions + static_cast<int64_t>(t)) * channels;
      const float shared = grain == SignGrain::sample            ? signs.at(m, scale)
                           : grain == SignGrain::sample_position ? signs.at(m * t_count + t, scale)
                                                                 : 0.0f;
      for (uint64_t k = 0; k < k_count; ++k) {
        const float sign = grain == SignGrain::sample_channel ? signs.at(m * k_count + k, scale)
                           : grain == SignGrain::element      ? signs.at((m * t_count + t) * k_count + k, scale)
                                                              : shared;
        const int64_t i = row + static_cast<int64_t>(k);
        y[i] = x ? sign * x[i] : sign;
      }
    }
  });
}

}  // namespace noisysgd::kernels::cpu
