// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a random stream without state.
// The four words are a function of (seed, index, step, tensor, purpose), so any device, thread count or micro-batch
// draws the same numbers, and a resumed run needs only its step number to continue the stream.
#pragma once

#include <array>
#include <cstdint>

#include <noisysgd/kernels/number.h>

namespace noisysgd {

// The purpose of a stream is the fourth counter word. Streams of different purposes never overlap.
enum class RandomPurpose : uint32_t {
  initialisation = 1,
  noise,
  dropout,
  shuffle,
  augmentation,
  synthetic_data,
  fisher_labels,
  test,
  sample_weights,
  noise_signs,
  noise_labels,
  analysis = 1000,  // what analyses draw, apart from training
  tuning            // points of a search
};

struct RandomStream {
  uint64_t seed = 0;    // the key
  StepNumber step = 0;  // optimizer step or epoch
  uint32_t tensor = 0;  // which tensor, layer or data set
  RandomPurpose purpose = RandomPurpose::test;
};

constexpr std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

// Words 4*block .. 4*block+3 of the stream.
constexpr std::array<uint32_t, 4> random_words(const RandomStream& stream, uint32_t block) {
  return philox4x32_10({block, stream.step.read(), stream.tensor, static_cast<uint32_t>(stream.purpose)},
                       {static_cast<uint32_t>(stream.seed), static_cast<uint32_t>(stream.seed >> 32)});
}

constexpr uint32_t random_word(const RandomStream& stream, uint64_t index) {
  return random_words(stream, static_cast<uint32_t>(index / 4))[index % 4];
}

// Uniform in (0, 1): midpoints of 2^23 equal cells, so neither 0 nor 1 occurs (with 24 bits, rounding would give 1).
constexpr float uniform_from_word(uint32_t word) { return (static_cast<float>(word >> 9) + 0.5f) * 0x1p-23f; }

// Uniform integer in [0, bound) without division (bias below 2^-32 * bound).
constexpr uint32_t below_from_word(uint32_t word, uint32_t bound) {
  return static_cast<uint32_t>((uint64_t{word} * bound) >> 32);
}

}  // namespace noisysgd
