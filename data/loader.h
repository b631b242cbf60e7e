// The data set on the device, as uint8, and batches gathered from it: augmentation and normalisation are one kernel.
// The order of an epoch and every augmentation are functions of (seed, epoch, index), so a resumed run sees what the
// uninterrupted one would have.
#pragma once

#include <vector>

#include "data/dataset.h"
#include "data/normalize.h"
#include "kernels/augment.h"
#include "layers/model.h"

namespace noisysgd {

class Loader {
 public:
  // statistics: what normalises each channel (of the training images, for the test images too).
  Loader(Context& context, const Dataset& dataset, const ChannelStatistics& statistics,
         const kernels::AugmentOptions& augment = {});

  int64_t count() const { return count_; }
  Shape image_shape() const { return {height_, width_, channels_}; }

  // Training: positions [begin, end) of the shuffled epoch, augmented.
  Batch shuffled(int64_t begin, int64_t end, uint64_t seed, uint32_t epoch) const;
  // Evaluation: images [begin, end) in their stored order, as they are.
  Batch ordered(int64_t begin, int64_t end) const;

 private:
  Batch gather(const std::vector<int32_t>& indices, const kernels::AugmentOptions& augment, uint64_t seed,
               uint32_t epoch) const;

  Context& context_;
  int64_t count_, height_, width_, channels_;
  Tensor images_;  // [N,H,W,C] u8
  std::vector<int32_t> labels_;
  Tensor mean_, inverse_std_;  // [C]
  kernels::AugmentOptions augment_;
};

}  // namespace noisysgd
