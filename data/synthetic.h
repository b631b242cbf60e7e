// Draws labelled images: the ten digits as pen strokes under random affine maps, elastic deformation, thickness,
// contrast, distractor strokes and pixel noise. An image is a pure function of (seed, split, index), so any number of
// threads and any subset give the same pixels. Throws Error for options out of range.
#pragma once

#include <cstdint>

#include <noisysgd/data/dataset.h>

namespace noisysgd {

struct SyntheticOptions {
  int64_t train_count = 10000;
  int64_t test_count = 2000;
  bool colour = false;       // false: 28×28×1, white on black; true: 32×32×3, random colours
  double difficulty = 0.5;   // 0 (clean print) to 1 (scrawl among scratches); 0.5: LeNet gets 93 to 95 % in 10 epochs
  double label_noise = 0.0;  // fraction of the training labels replaced by another class, 0 to 1
  uint64_t seed = 1;
};

enum class SyntheticSplit : uint32_t { train, test };

// Images first .. first+count-1 of a split.
Dataset synthesise(const SyntheticOptions& options, SyntheticSplit split, int64_t first, int64_t count);

DatasetPair make_synthetic(const SyntheticOptions& options);

}  // namespace noisysgd
