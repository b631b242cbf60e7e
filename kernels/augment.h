// Random pad-and-crop and horizontal flip as a pure function of (seed, epoch, sample), the same on every device.
// The crop window's corner is uniform in [0, 2·padding]² of the padded image; a flip mirrors the window. Words 0, 1 and
// 2 of the sample's Philox block give offset_y, offset_x and the flip.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels {

struct AugmentOptions {
  int32_t padding = 0;  // pixels of black added on every side before cropping back to H×W
  bool flip = false;    // mirror left-right with probability 1/2
};

struct AugmentDecision {
  int32_t offset_y = 0;
  int32_t offset_x = 0;
  bool flip = false;
};

// `sample` is the index in the data set, not the position in the batch, so the result does not depend on the batch
// size.
constexpr AugmentDecision decide_augmentation(const AugmentOptions& options, uint64_t seed, StepNumber epoch,
                                              uint32_t sample) {
  const RandomStream stream{seed, epoch, 0, RandomPurpose::augmentation};
  const auto words = random_words(stream, sample);
  const auto positions = static_cast<uint32_t>(2 * options.padding + 1);
  return {static_cast<int32_t>(below_from_word(words[0], positions)),
          static_cast<int32_t>(below_from_word(words[1], positions)), options.flip && (words[2] >> 31) != 0};
}

// The column of the source image that appears at column x of the output; a value outside [0, width) means padding.
constexpr int64_t source_column(const AugmentOptions& options, const AugmentDecision& decision, int64_t x,
                                int64_t width) {
  return (decision.flip ? width - 1 - x : x) + decision.offset_x - options.padding;
}

constexpr int64_t source_row(const AugmentOptions& options, const AugmentDecision& decision, int64_t y) {
  return y + decision.offset_y - options.padding;
}

}  // namespace noisysgd::kernels
