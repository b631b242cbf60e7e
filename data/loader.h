// The data set on the device, as uint8, and batches gathered from it: augmentation and normalisation are one kernel.
// The order of an epoch and every augmentation are functions of (seed, epoch, index), so a resumed run sees what the
// uninterrupted one would have.
#pragma once

#include <vector>

#include <noisysgd/data/dataset.h>
#include <noisysgd/data/normalize.h>
#include <noisysgd/kernels/augment.h>
#include <noisysgd/kernels/pick_samples.h>
#include <noisysgd/layers/model.h>

namespace noisysgd {

// Where a batch, or its part from sample `offset` on, stands in the run.
struct BatchPlace {
  StepNumber epoch = 0;
  Number<int64_t> first = 0;  // position in the shuffled epoch
  int64_t offset = 0;
};

class Loader {
 public:
  // statistics: what normalises each channel (of the training images, for the test images too).
  Loader(Context& context, const Dataset& dataset, const ChannelStatistics& statistics,
         const kernels::AugmentOptions& augment = {});

  int64_t count() const { return count_; }
  Shape image_shape() const { return {height_, width_, channels_}; }

  // Training: `samples` from this place of the shuffled epoch on, augmented.
  Batch shuffled(const BatchPlace& place, int64_t samples, uint64_t seed) const;
  // Evaluation: images [begin, end) in their stored order, as they are.
  Batch ordered(int64_t begin, int64_t end) const;

 private:
  Batch gather(const kernels::SampleOrder& order, int64_t samples, const kernels::AugmentOptions& augment) const;

  Context& context_;
  int64_t count_, height_, width_, channels_;
  Tensor images_;              // [N,H,W,C] u8
  Tensor labels_;              // [N] i32
  Tensor mean_, inverse_std_;  // [C]
  kernels::AugmentOptions augment_;
};

}  // namespace noisysgd
