// Random words, uniforms and normals in vector lanes. They have the same bits on every instruction set, because only
// correctly rounded operations are used and none are contracted. A batch is 2*lanes consecutive elements: one Philox
// block of four words per 64-bit lane. The polynomials' coefficients are this project's own Chebyshev fits.
#pragma once

#include <noisysgd/kernels/simd/simd_kernels.h>
#include <noisysgd/kernels/simd/vector.inl>

namespace noisysgd::kernels::simd {
namespace {

constexpr int batch = 2 * lanes;

// The words of even and odd elements: even[i] is word 2i, odd[i] is word 2i+1 of the batch.
struct WordPairs {
  Word even, odd;
};

NSGD_INLINE Long long_splat(uint64_t value) { return value + Long{}; }

// Philox4x32-10 on one counter per 64-bit lane. The high halves contain garbage that the next product ignores.
NSGD_INLINE WordPairs philox(const PhiloxKey& key, int64_t element) {
  Long counter0, counter1 = long_splat(key.step), counter2 = long_splat(key.tensor), counter3 = long_splat(key.purpose);
  for (int i = 0; i < lanes / 2; ++i) counter0[i] = static_cast<uint64_t>(i);
  counter0 += static_cast<uint64_t>(element / 4);
  uint32_t key0 = key.seed_low, key1 = key.seed_high;
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const Long product0 = multiply_low_halves(counter0, long_splat(0xD2511F53u));
    const Long product1 = multiply_low_halves(counter2, long_splat(0xCD9E8D57u));
    counter0 = (product1 >> 32) ^ counter1 ^ long_splat(key0);
    counter1 = product1;
    counter2 = (product0 >> 32) ^ counter3 ^ long_splat(key1);
    counter3 = product0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  const uint64_t low = 0xFFFFFFFFu;
  return {(Word)((counter0 & low) | (counter2 << 32)), (Word)((counter1 & low) | (counter3 << 32))};
}

// (word + 0.5) 2^-32, rounded twice: in (0, 1], with fine steps near 0, so that normals reach 6.76 standard deviations.
NSGD_INLINE Float radius_uniform(Word word) {
  const Float high = to_float((Int)(word >> 16)), low = to_float((Int)(word & 0xFFFFu));
  return (high * 65536.0f + low + 0.5f) * 0x1p-32f;
}

// ln u for normal u in (0, 1]: u = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = f - f^2/2 + f^3 P(f), f = m - 1.
NSGD_INLINE Float natural_logarithm(Float u) {
  const Int exponent = ((Int)u - 0x3F3504F3) >> 23;
  const Float f = (Float)((Int)u - (exponent << 23)) - 1.0f;
  Float p = splat(0x1.1d8ea6p-4f);
  p = p * f - 0x1.d635bcp-4f;
  p = p * f + 0x1.dea282p-4f;
  p = p * f - 0x1.fcf4c6p-4f;
  p = p * f + 0x1.23d21ap-3f;
  p = p * f - 0x1.555b4ap-3f;
  p = p * f + 0x1.999d5ap-3f;
  p = p * f - 0x1.fffffcp-3f;
  p = p * f + 0x1.555554p-2f;
  const Float square = f * f;
  return to_float(exponent) * 0x1.62e43p-1f + (f + (square * f * p - square * 0.5f));
}

// cos and sin of 2 pi word / 2^32. The quadrant and the remainder within it are split exactly, as integers.
NSGD_INLINE void cosine_sine(Word word, Float& cosine, Float& sine) {
  const Word quadrant = (word + 0x20000000u) >> 30;
  const Float f = to_float((Int)(word - (quadrant << 30))) * 0x1p-30f;  // [-1/2, 1/2) of a quarter turn
  const Float square = f * f;
  Float s = splat(-0x1.2ee7bcp-8f);
  s = s * square + 0x1.4665e8p-4f;
  s = s * square - 0x1.4abbccp-1f;
  s = f * 0x1.921fb6p0f + f * square * s;
  Float c = splat(0x1.db6492p-11f);
  c = c * square - 0x1.55cb98p-6f;
  c = c * square + 0x1.03c1eap-2f;
  c = c * square - 0x1.3bd3ccp0f;
  c = c * square + 1.0f;
  const Int swap = -(Int)(quadrant & 1u);
  cosine = (Float)((Word)select(swap, s, c) ^ (((quadrant + 1u) & 2u) << 30));
  sine = (Float)((Word)select(swap, c, s) ^ ((quadrant & 2u) << 30));
}

struct FloatPair {
  Float first, second;
};

// Elements element .. element+batch-1 of the stream of standard normals: Box-Muller on each pair of words.
NSGD_INLINE FloatPair normals(const PhiloxKey& key, int64_t element) {
  const WordPairs words = philox(key, element);
  const Float radius = square_root(natural_logarithm(radius_uniform(words.even)) * -2.0f);
  Float cosine, sine;
  cosine_sine(words.odd, cosine, sine);
  FloatPair result;
  interleave(radius * cosine, radius * sine, result.first, result.second);
  return result;
}

NSGD_INLINE Float uniform_from_words(Word word) { return (to_float((Int)(word >> 9)) + 0.5f) * 0x1p-23f; }

// Calls make(element, out) for every batch; an incomplete last batch goes through a buffer.
template <class Scalar, class Make>
NSGD_INLINE void for_batches(int64_t first, int64_t n, Scalar* x, Make make) {
  const int64_t whole = n / batch * batch;
  for (int64_t i = 0; i < whole; i += batch) make(first + i, x + i);
  if (whole == n) return;
  Scalar buffer[batch];
  make(first + whole, buffer);
  for (int64_t i = whole; i < n; ++i) x[i] = buffer[i - whole];
}

void normal(const PhiloxKey& key, int64_t first, int64_t n, float mean, float deviation, float* x) {
  for_batches(first, n, x, [&](int64_t element, float* to) {
    const FloatPair z = normals(key, element);
    store(to, z.first * deviation + mean);
    store(to + lanes, z.second * deviation + mean);
  });
}

void uniform(const PhiloxKey& key, int64_t first, int64_t n, float low, float high, float* x) {
  for_batches(first, n, x, [&](int64_t element, float* to) {
    const WordPairs words = philox(key, element);
    FloatPair u;
    interleave(uniform_from_words(words.even), uniform_from_words(words.odd), u.first, u.second);
    store(to, u.first * (high - low) + low);
    store(to + lanes, u.second * (high - low) + low);
  });
}

void random_words(const PhiloxKey& key, int64_t first, int64_t n, uint32_t* x) {
  for_batches(first, n, x, [&](int64_t element, uint32_t* to) {
    const WordPairs words = philox(key, element);
    Word low, high;
    interleave(words.even, words.odd, low, high);
    store(to, low);
    store(to + lanes, high);
  });
}

}  // namespace
}  // namespace noisysgd::kernels::simd
