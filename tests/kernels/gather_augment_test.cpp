#include <noisysgd/kernels/gather_augment.h>

#include <cmath>
#include <limits>
#include <vector>

#include <noisysgd/kernels/check.h>
#include "tests/catch.h"

using namespace noisysgd;
using namespace noisysgd::kernels;

namespace {

struct Batch {
  int64_t N, M, H, W, C;
  std::vector<uint8_t> images;
  std::vector<int32_t> indices;
  std::vector<float> mean, inverse_std;

  Batch(int64_t N_, int64_t M_, int64_t H_, int64_t W_, int64_t C_) : N(N_), M(M_), H(H_), W(W_), C(C_) {
    const RandomStream stream{77};
    for (int64_t i = 0; i < N * H * W * C; ++i)
      images.push_back(static_cast<uint8_t>(random_word(stream, static_cast<uint64_t>(i)) >> 24));
    for (int64_t m = 0; m < M; ++m)
      indices.push_back(
          static_cast<int32_t>(below_from_word(random_word({78}, static_cast<uint64_t>(m)), static_cast<uint32_t>(N))));
    for (int64_t c = 0; c < C; ++c) {
      mean.push_back(0.3f + 0.1f * static_cast<float>(c));
      inverse_std.push_back(4.0f - 0.5f * static_cast<float>(c));
    }
  }

  std::vector<float> gather(const AugmentOptions& options, uint64_t seed, uint32_t epoch, int threads = 0) const {
    std::vector<float> out(static_cast<size_t>(M * H * W * C), std::numeric_limits<float>::quiet_NaN());
    Queue queue({}, threads);
    gather_augment(queue, {images.data(), N, H, W, C, mean.data(), inverse_std.data()}, indices.data(), M,
                   {options, seed, epoch}, out.data());
    return out;
  }

  // From the definition: pad with black, cut the window out, mirror it, normalise.
  std::vector<double> reference(const AugmentOptions& options, uint64_t seed, uint32_t epoch) const {
    const int64_t p = options.padding, padded_H = H + 2 * p, padded_W = W + 2 * p;
    std::vector<double> out;
    for (const int32_t index : indices) {
      std::vector<double> padded(static_cast<size_t>(padded_H * padded_W * C), 0.0);
      for (int64_t y = 0; y < H; ++y)
        for (int64_t x = 0; x < W; ++x)
          for (int64_t c = 0; c < C; ++c)
            padded[static_cast<size_t>(((y + p) * padded_W + x + p) * C + c)] =
                images[static_cast<size_t>(((index * H + y) * W + x) * C + c)] / 255.0;
      const auto words = random_words({seed, epoch, 0, RandomPurpose::augmentation}, static_cast<uint32_t>(index));
      const auto top = static_cast<int64_t>(uint64_t{words[0]} * static_cast<uint64_t>(2 * p + 1) >> 32);
      const auto left = static_cast<int64_t>(uint64_t{words[1]} * static_cast<uint64_t>(2 * p + 1) >> 32);
      const bool flip = options.flip && words[2] >= 0x80000000u;
      for (int64_t y = 0; y < H; ++y)
        for (int64_t x = 0; x < W; ++x)
          for (int64_t c = 0; c < C; ++c) {
            const int64_t column = left + (flip ? W - 1 - x : x);
            const double value = padded[static_cast<size_t>(((top + y) * padded_W + column) * C + c)];
            out.push_back((value - mean[static_cast<size_t>(c)]) * inverse_std[static_cast<size_t>(c)]);
          }
    }
    return out;
  }
};

void check_close(const std::vector<float>& out, const std::vector<double>& expected) {
  REQUIRE(out.size() == expected.size());
  double norm = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    norm += expected[i] * expected[i];
    // Four roundings of values up to 4.
    if (!(std::abs(out[i] - expected[i]) <= 16 * 1.2e-7)) {
      CAPTURE(i, out[i], expected[i]);
      FAIL("differs from the definition");
    }
  }
  REQUIRE(norm > 0);
}

}  // namespace

TEST_CASE("gather_augment follows its definition") {
  for (const int64_t channels : {1, 2, 3, 4})
    for (const int32_t padding : {0, 1, 4, 9})
      for (const bool flip : {false, true}) {
        const Batch batch(7, 33, 6, 8, channels);
        const AugmentOptions options{padding, flip};
        INFO("C " << channels << ", padding " << padding << ", flip " << flip);
        check_close(batch.gather(options, 5, 2), batch.reference(options, 5, 2));
      }
  const Batch one(1, 1, 1, 1, 1);
  check_close(one.gather({0, false}, 1, 0), one.reference({0, false}, 1, 0));
}

TEST_CASE("gather_augment gives the same bits with any number of threads and in any batch") {
  const Batch batch(20, 64, 5, 5, 3);
  const AugmentOptions options{2, true};
  const auto one = batch.gather(options, 9, 4, 1);
  CHECK(batch.gather(options, 9, 4, 6) == one);
  Batch part = batch;
  part.M = 10;
  part.indices.assign(batch.indices.begin() + 30, batch.indices.begin() + 40);
  const auto gathered = part.gather(options, 9, 4);
  CHECK(std::equal(gathered.begin(), gathered.end(), one.begin() + 30 * 75));
  CHECK(batch.gather(options, 9, 5) != one);
  CHECK(batch.gather(options, 10, 4) != one);
}

TEST_CASE("gather_augment of nothing writes nothing, and wrong indices are refused") {
  Batch batch(4, 3, 2, 2, 1);
  batch.M = 0;
  CHECK(batch.gather({0, false}, 1, 1).empty());
  batch.M = 3;
  batch.indices[1] = 4;
  CHECK_THROWS_WITH(batch.gather({0, false}, 1, 1), "gather_augment: indices[1] is 4, expected 0 to 3");
  batch.indices[1] = -1;
  CHECK_THROWS_AS(batch.gather({0, false}, 1, 1), Error);
  batch.indices[1] = 0;
  CHECK_THROWS_WITH(batch.gather({-1, false}, 1, 1), "gather_augment: padding is -1, expected at least 0");
}

TEST_CASE("crop offsets and flips are uniform and independent") {
  const AugmentOptions options{4, true};
  const int samples = 20000;
  std::vector<double> rows(9), columns(9), joint(81 * 2);
  for (uint32_t sample = 0; sample < samples; ++sample) {
    const auto decision = decide_augmentation(options, 3, 1, sample);
    ++rows.at(static_cast<size_t>(decision.offset_y));
    ++columns.at(static_cast<size_t>(decision.offset_x));
    ++joint.at(static_cast<size_t>((decision.offset_y * 9 + decision.offset_x) * 2 + decision.flip));
  }
  const auto check_uniform = [&](const std::vector<double>& counts) {
    const double expected = samples / static_cast<double>(counts.size());
    double chi_square = 0;
    for (const double count : counts) chi_square += (count - expected) * (count - expected) / expected;
    const double freedom = static_cast<double>(counts.size() - 1);
    CHECK(std::abs(chi_square - freedom) < 5 * std::sqrt(2 * freedom));
  };
  check_uniform(rows);
  check_uniform(columns);
  check_uniform(joint);
  for (uint32_t sample = 0; sample < 200; ++sample) {
    const auto still = decide_augmentation({0, false}, 3, 1, sample);
    REQUIRE((still.offset_y == 0 && still.offset_x == 0 && !still.flip));
  }
}
