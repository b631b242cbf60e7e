// Keeps a data set on the device as uint8 and gathers batches from it. One kernel augments and normalises. The order of
// an epoch and every augmentation are functions of (seed, epoch, index), so a resumed run sees the same batches as an
// uninterrupted one.
#pragma once

#include <vector>

#include <noisysgd/data/dataset.h>
#include <noisysgd/data/normalize.h>
#include <noisysgd/kernels/augment.h>
#include <noisysgd/kernels/pick_samples.h>
#include <noisysgd/layers/model.h>

namespace noisysgd {

// Position in the run of a batch, or of the part of a batch that begins at its sample `offset`.
struct BatchPlace {
  StepNumber epoch = 0;
  Number<int64_t> first = 0;  // position in the shuffled epoch
  int64_t offset = 0;
};

class Loader {
 public:
  // statistics: mean and standard deviation that normalise each channel. The test images use those of the training
  // images.
  Loader(Context& context, const Dataset& dataset, const ChannelStatistics& statistics,
         const kernels::AugmentOptions& augment = {});

  int64_t count() const { return count_; }
  Shape image_shape() const { return {height_, width_, channels_}; }

  // Training: `samples` augmented images of the shuffled epoch, from `place` on.
  Batch shuffled(const BatchPlace& place, int64_t samples, uint64_t seed) const;
  // Evaluation: images [begin, end) in their stored order, not augmented.
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
