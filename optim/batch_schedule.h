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
  int64_t size = 0;          // images of one step, of which the network may be able to use fewer
  double learning_rate = 0;  // before the schedule's factor
};

// Where in the run a step is.
struct BatchPosition {
  int64_t epoch = 0;            // from 0
  int64_t step_of_epoch = 0;    // from 0
  int64_t steps_per_epoch = 0;  // of this epoch
  int64_t samples = 0;          // that the step trains on: the first of its images
  const BatchPhase* phase = nullptr;

  bool first_of_epoch() const { return step_of_epoch == 0; }
  int64_t first_sample() const { return step_of_epoch * phase->size; }  // in the shuffled epoch
  // The step if every epoch before had as many steps as this one: what a schedule in epochs needs.
  int64_t equivalent_step() const { return epoch * steps_per_epoch + step_of_epoch; }
};

class BatchSchedule {
 public:
  // images: of the training set. drop_last: without the incomplete last batch of an epoch; one that is too small for
  // the network is left out in any case. Throws Error if a phase has no batch at all, or batches that are too small.
  BatchSchedule(std::vector<BatchPhase> phases, int64_t images, bool drop_last, const SampleCoupling& coupling = {});

  int64_t total_steps() const { return total_steps_; }
  // Steps of the first so many epochs, the last of them in part: rounded to whole steps.
  int64_t steps_of_first(double epochs) const;
  // Of the step, or of the end of the run (as the start of the epoch behind the last).
  BatchPosition position(int64_t step) const;
  // What to tell of the images that an epoch leaves out: a line for each phase with such epochs.
  std::vector<std::string> left_out() const;

 private:
  // The batches of a phase's epochs: so many whole ones and perhaps a last one, by the samples that they train on.
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
