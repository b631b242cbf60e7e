#include <noisysgd/kernels/signs.h>

#include <bit>

#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels::cpu {
namespace {

constexpr int64_t chunk = 1024;  // signs at a time: their 4 KiB stay in the L1 cache

NSGD_TARGET_CLONES void expand_words(const uint32_t* words, int64_t count, float scale, float* signs) {
  const auto positive = std::bit_cast<uint32_t>(scale);
  for (int64_t w = 0; w < count; ++w)
#pragma omp simd
    for (uint32_t j = 0; j < 32; ++j) signs[w * 32 + j] = std::bit_cast<float>(positive ^ (words[w] >> j << 31));
}

NSGD_TARGET_CLONES void multiply(const float* signs, const float* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = signs[i] * x[i];
}

NSGD_TARGET_CLONES void multiply(float sign, const float* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = sign * x[i];
}

// Signs of one stream, -scale or +scale. Neighbouring indices share a Philox block of 128 bits.
class Signs {
 public:
  Signs(const RandomStream& stream, float scale) : stream_(stream), scale_(scale) {}

  // The signs at indices first, first + 1, …; at most `chunk` of them. The pointer is valid until the next call.
  const float* from(uint64_t first, int64_t count) {
    const uint64_t begin = first / 128, end = (first + static_cast<uint64_t>(count) + 127) / 128;
    if (begin < begin_ || end > end_) {  // more than requested, so that short runs share them
      begin_ = begin;
      end_ = begin + blocks;
      for (uint64_t block = 0; block < blocks; ++block) {
        const auto words = random_words(stream_, static_cast<uint32_t>(begin + block));
        expand_words(words.data(), 4, scale_, signs_ + block * 128);
      }
    }
    return signs_ + (first - begin_ * 128);
  }
  float at(uint64_t index) { return *from(index, 1); }

 private:
  static constexpr uint64_t blocks = chunk / 128 + 1;
  const RandomStream& stream_;
  float scale_;
  uint64_t begin_ = 1, end_ = 0;  // blocks that signs_ holds
  float signs_[blocks * 128];
};

void multiply_or_copy(const float* signs, const float* x, int64_t n, float* y) {
  if (x)
    multiply(signs, x, n, y);
  else
    std::copy_n(signs, n, y);
}

void multiply_or_fill(float sign, const float* x, int64_t n, float* y) {
  if (x)
    multiply(sign, x, n, y);
  else
    std::fill_n(y, n, sign);
}

}  // namespace

void multiply_signs(Queue& queue, const SignArray& array, const float* x, float* y) {
  const int64_t samples = array.samples, positions = array.positions, channels = array.channels;
  const SignGrain grain = array.grain;
  NSGD_CHECK(grain != SignGrain::none, "multiply_signs: no grain for {} samples", samples);
  const int64_t size = positions * channels;  // of a sample
  const int64_t block = std::clamp<int64_t>(16384 / std::max<int64_t>(size, 1), 1, std::max<int64_t>(samples, 1));
  parallel_blocks(queue, (samples + block - 1) / block, samples * size, [&](int64_t b, int64_t) {
    Signs signs(array.stream, array.scale);
    for (int64_t n = b * block; n < std::min(samples, (b + 1) * block); ++n) {
      const uint64_t m = array.sample_offset + static_cast<uint64_t>(n);
      const float* const from = x ? x + n * size : nullptr;
      float* const to = y + n * size;
      const auto part = [&](int64_t i) { return from ? from + i : nullptr; };
      if (grain == SignGrain::sample) {
        multiply_or_fill(signs.at(m), from, size, to);
      } else if (grain == SignGrain::sample_position) {
        for (int64_t t = 0; t < positions; ++t)
          multiply_or_fill(signs.at(m * static_cast<uint64_t>(positions) + static_cast<uint64_t>(t)),
                           part(t * channels), channels, to + t * channels);
      } else {  // a run of signs: one per channel, repeated at each position, or one per element of the sample
        const int64_t run = grain == SignGrain::element ? size : channels;
        for (int64_t first = 0; first < run; first += chunk) {
          const int64_t count = std::min(chunk, run - first);
          const float* const values = signs.from(m * static_cast<uint64_t>(run) + static_cast<uint64_t>(first), count);
          for (int64_t i = first; i < size; i += run) multiply_or_copy(values, part(i), count, to + i);
        }
      }
    }
  });
}

}  // namespace noisysgd::kernels::cpu
