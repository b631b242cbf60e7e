// The batch size as a function of the step: one size for the whole run, or others for its first epochs (BatchChange of
// the paper's Table 2: small batches first, then large ones).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <noisysgd/layers/sample_coupling.h>

namespace noisysgd {

struct BatchPhase {
  int64_t epochs = 0;
  int64_t size = 0;          // images of one step; the network may use fewer
  double learning_rate = 0;  // without the schedule's factor
};

// The position of a step in the run.
struct BatchPosition {
  int64_t epoch = 0;            // from 0
  int64_t step_of_epoch = 0;    // from 0
  int64_t steps_per_epoch = 0;  // of this epoch
  int64_t samples = 0;          // the number of images that the step trains on, its first ones
  const BatchPhase* phase = nullptr;

  bool first_of_epoch() const { return step_of_epoch == 0; }
  int64_t first_sample() const { return step_of_epoch * phase->size; }  // in the shuffled epoch
  // The step number if all earlier epochs had as many steps as this one; for schedules in units of epochs.
  int64_t equivalent_step() const { return epoch * steps_per_epoch + step_of_epoch; }
};

class BatchSchedule {
 public:
  // images: size of the training set. drop_last: leaves out the incomplete last batch of an epoch; a last batch that is
  // too small for the network is always left out. Throws Error if a phase has no batch, or if its batches are too
  // small.
  BatchSchedule(std::vector<BatchPhase> phases, int64_t images, bool drop_last, const SampleCoupling& coupling = {});

  int64_t total_steps() const { return total_steps_; }
  // Number of steps in the first `epochs` epochs; a fractional epoch is rounded to whole steps.
  int64_t steps_of_first(double epochs) const;
  // The position of a step. The end of the run is the start of the epoch after the last.
  BatchPosition position(int64_t step) const;
  // Messages about images that epochs leave out: one line for each phase with such epochs.
  std::vector<std::string> left_out() const;

 private:
  // An epoch of one phase: the number of whole batches, the samples used of each, and those used of the last batch.
  struct Epoch {
    int64_t whole_batches = 0, whole = 0, last = 0;  // last: 0 if there is none
    int64_t steps() const { return whole_batches + (last > 0 ? 1 : 0); }
  };

  std::vector<BatchPhase> phases_;
  std::vector<Epoch> epochs_;  // of each phase
  int64_t images_;
  bool drop_last_;
  int64_t total_steps_ = 0;
};

}  // namespace noisysgd
