// Random numbers of the samples of a batch: functions of seed, step and the index in the batch, so that micro-batches
// and threads do not matter.
#pragma once

#include <cmath>
#include <numbers>

#include "kernels/philox.h"
#include "optim/noise/noise.h"

namespace noisysgd {

inline RandomStream sample_stream(const NoiseBatch& batch) {
  return {batch.seed, batch.step, 0, RandomPurpose::sample_weights};
}

inline float sample_sign(const RandomStream& stream, uint64_t index) {
  return random_word(stream, index) & 1u ? -1.0f : 1.0f;
}

// N(0,1) by Box-Muller, from words 2i and 2i+1.
inline float sample_normal(const RandomStream& stream, uint64_t index) {
  const double u = (random_word(stream, 2 * index) + 0.5) * 0x1p-32;
  const double angle = 2 * std::numbers::pi * (random_word(stream, 2 * index + 1) * 0x1p-32);
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(angle));
}

}  // namespace noisysgd
