#include <noisysgd/kernels/signs.h>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

const RandomStream stream{7, 3, 2, RandomPurpose::noise_signs};

double sign(uint64_t i) { return random_word(stream, i / 32) >> (i % 32) & 1u ? -1 : 1; }

uint64_t index(SignGrain grain, uint64_t n, uint64_t t, uint64_t k, uint64_t positions, uint64_t channels) {
  switch (grain) {
    case SignGrain::sample:
      return n;
    case SignGrain::sample_channel:
      return n * channels + k;
    case SignGrain::sample_position:
      return n * positions + t;
    default:
      return (n * positions + t) * channels + k;
  }
}

}  // namespace

TEST_CASE("signs are those of the stream at the index of their grain, from any offset and with any number of threads") {
  const auto grain =
      GENERATE(SignGrain::sample, SignGrain::sample_channel, SignGrain::sample_position, SignGrain::element);
  const auto [samples, positions, channels] =
      GENERATE(table<int64_t, int64_t, int64_t>({{1, 1, 1}, {31, 1, 5}, {33, 7, 3}, {130, 16, 32}, {3, 1025, 1}}));
  const uint64_t offset = GENERATE(0, 6);
  const int threads = GENERATE(1, 3);
  const auto x = random_tensor(samples * positions * channels, 1);
  std::vector<double> expected;
  for (int64_t n = 0, i = 0; n < samples; ++n)
    for (int64_t t = 0; t < positions; ++t)
      for (int64_t k = 0; k < channels; ++k, ++i)
        expected.push_back(0.5 * sign(index(grain, offset + n, t, k, positions, channels)) * x[i]);
  Queue queue({}, threads);
  const SignArray array{samples, positions, channels, grain, 0.5f, stream, offset};
  std::vector<float> y = nan_tensor(samples * positions * channels);
  multiply_signs(queue, array, x.data(), y.data());
  CHECK(compare(y, expected) == "");
  y = x;
  multiply_signs(queue, array, y.data(), y.data());
  CHECK(compare(y, expected) == "");
  multiply_signs(queue, array, nullptr, y.data());
  for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] * x[i] == static_cast<float>(expected[i]));
}

TEST_CASE("signs need a grain") {
  Queue queue;
  float y = 0;
  CHECK_THROWS_WITH(multiply_signs(queue, {1, 1, 1, SignGrain::none}, nullptr, &y),
                    "multiply_signs: no grain for 1 samples");
}
