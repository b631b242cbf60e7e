#include <noisysgd/kernels/philox.h>

#include <cmath>
#include <set>

#include "tests/catch.h"

using namespace noisysgd;
using Words = std::array<uint32_t, 4>;

TEST_CASE("philox4x32-10 gives the published known answers") {
  // The known-answer file of Random123, "philox4x32 10".
  constexpr uint32_t ones = 0xffffffff;
  CHECK(philox4x32_10({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32_10({ones, ones, ones, ones}, {ones, ones}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream's counter is (index, step, tensor, purpose), its key the seed") {
  const RandomStream stream{0x299f31d0a4093822, 0x85a308d3, 0x13198a2e, static_cast<RandomPurpose>(0x03707344)};
  CHECK(random_words(stream, 0x243f6a88) == Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  for (uint64_t lane = 0; lane < 4; ++lane)
    CHECK(random_word(stream, uint64_t{0x243f6a88} * 4 + lane) == random_words(stream, 0x243f6a88)[lane]);
}

TEST_CASE("every part of a stream changes its words") {
  const RandomStream base{1, 2, 3, RandomPurpose::noise};
  std::set<Words> words = {random_words(base, 0), random_words(base, 1)};
  RandomStream other = base;
  other.seed += 1;
  words.insert(random_words(other, 0));
  other = base;
  other.seed += uint64_t{1} << 32;
  words.insert(random_words(other, 0));
  other = base;
  other.step = other.step.value() + 1;
  words.insert(random_words(other, 0));
  other = base;
  other.tensor += 1;
  words.insert(random_words(other, 0));
  other = base;
  other.purpose = RandomPurpose::dropout;
  words.insert(random_words(other, 0));
  CHECK(words.size() == 7);
}

TEST_CASE("uniforms lie strictly between 0 and 1, bounded integers below their bound") {
  CHECK(uniform_from_word(0) > 0.0f);
  CHECK(uniform_from_word(0xffffffff) < 1.0f);
  CHECK(uniform_from_word(0x80000000) == Approx(0.5).margin(1e-6));
  CHECK(below_from_word(0, 10) == 0);
  CHECK(below_from_word(0xffffffff, 10) == 9);
  CHECK(below_from_word(0x80000000, 10) == 5);
  CHECK(below_from_word(0xffffffff, 1) == 0);
}

TEST_CASE("uniforms have the mean and variance of the uniform distribution") {
  const RandomStream stream{7, 0, 0, RandomPurpose::test};
  constexpr int n = 100000;
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const double u = uniform_from_word(random_word(stream, i));
    sum += u;
    squares += (u - 0.5) * (u - 0.5);
  }
  // five standard errors
  CHECK(sum / n == Approx(0.5).margin(5 * std::sqrt(1.0 / 12 / n)));
  CHECK(squares / n == Approx(1.0 / 12).margin(5 * std::sqrt(1.0 / 180 / n)));
}
