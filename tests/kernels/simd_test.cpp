#include <rapidcheck.h>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/philox.h>
#include <noisysgd/kernels/simd/simd_kernels.h>
#include "tests/kernels/simd_fixture.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

TEST_CASE("an instruction set is chosen by name, and a wrong name is an error") {
  CHECK(simd::choose_isa("portable") == simd::Isa::portable);
  CHECK(simd::choose_isa(nullptr) == supported_isas().back());
  CHECK(simd::choose_isa("") == supported_isas().back());
  CHECK_THROWS_AS(simd::choose_isa("sse9"), Error);
  CHECK_THROWS_AS(simd::choose_isa("AVX2"), Error);
  for (simd::Isa isa : simd::all_isas) {
    if (simd::supported(isa)) {
      const std::string name = simd::simd_kernels(isa).name;
      CHECK(simd::choose_isa(name.c_str()) == isa);
    } else {
      CHECK_THROWS_AS(simd::simd_kernels(isa), Error);
    }
  }
}

TEST_CASE("the Philox words of every instruction set are those of the scalar definition") {
  CHECK(rc::check("words", [](uint32_t step, uint32_t tensor, uint64_t seed) {
    const RandomStream stream{seed, step, tensor, RandomPurpose::noise};
    const simd::PhiloxKey key{step, tensor, static_cast<uint32_t>(stream.purpose), static_cast<uint32_t>(seed),
                              static_cast<uint32_t>(seed >> 32)};
    const int64_t first = 32 * *rc::gen::inRange<int64_t>(0, (int64_t{1} << 29) - 8);
    const int64_t n = *rc::gen::inRange<int64_t>(0, 130);
    for (simd::Isa isa : supported_isas()) {
      std::vector<uint32_t> words(static_cast<size_t>(n) + 1, 0xDEADBEEF);
      simd::simd_kernels(isa).words(key, first, n, words.data());
      for (int64_t i = 0; i < n; ++i) RC_ASSERT(words[i] == random_word(stream, static_cast<uint64_t>(first + i)));
      RC_ASSERT(words[n] == 0xDEADBEEF);
    }
  }));
}
