// kernels/philox.h against the generator of cuRAND's device header, compiled for the host: needs the toolkit, no GPU.
#include <vector_types.h>

#define QUALIFIERS static inline
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <curand_philox4x32_x.h>
#pragma GCC diagnostic pop

#include <noisysgd/kernels/philox.h>
#include "tests/catch.h"

using namespace noisysgd;

namespace {

// The four words that curand4 would give after curand_init(seed, subsequence, 4 * block).
std::array<uint32_t, 4> curand_words(uint64_t seed, uint64_t subsequence, uint64_t block) {
  curandStatePhilox4_32_10_t state{};
  Philox_State_Incr_hi(&state, subsequence);
  Philox_State_Incr(&state, block);
  const uint4 words = curand_Philox4x32_10(state.ctr, {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return {words.x, words.y, words.z, words.w};
}

}  // namespace

TEST_CASE("a stream is that of cuRAND with the tensor and purpose as subsequence, the step and index as offset") {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{7}, uint64_t{0xfedcba9876543210}})
    for (const uint32_t step : {0u, 1u, 123456u, 0xffffffffu})
      for (const uint32_t tensor : {0u, 5u, 0xffffffffu})
        for (const RandomPurpose purpose : {RandomPurpose::initialisation, RandomPurpose::noise_labels})
          for (const uint32_t block : {0u, 1u, 1000u, 0xffffffffu}) {
            const uint64_t subsequence = uint64_t{static_cast<uint32_t>(purpose)} << 32 | tensor;
            CHECK(random_words({seed, step, tensor, purpose}, block) ==
                  curand_words(seed, subsequence, uint64_t{step} << 32 | block));
          }
}
