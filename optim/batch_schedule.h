// The batch size as a function of the step: one size for the whole run, or others for its first epochs (BatchChange of
// the paper's Table 2: small batches first, then large ones).
#pragma once

#include <cstdint>
#include <vector>

namespace noisysgd {

struct BatchPhase {
  int64_t epochs = 0;
  int64_t size = 0;          // samples of one step
  double learning_rate = 0;  // before the schedule's factor
};

// Where in the run a step is.
struct BatchPosition {
  int64_t epoch = 0;            // from 0
  int64_t step_of_epoch = 0;    // from 0
  int64_t steps_per_epoch = 0;  // of this epoch
  const BatchPhase* phase = nullptr;

  bool first_of_epoch() const { return step_of_epoch == 0; }
  int64_t first_sample() const { return step_of_epoch * phase->size; }  // in the shuffled epoch
  // The step if every epoch before had as many steps as this one: what a schedule in epochs needs.
  int64_t equivalent_step() const { return epoch * steps_per_epoch + step_of_epoch; }
};

class BatchSchedule {
 public:
  // samples: training images. drop_last: without the incomplete last batch of an epoch; one of fewer than least_batch
  // samples is left out in any case. Throws Error if a phase then has no batch at all.
  BatchSchedule(std::vector<BatchPhase> phases, int64_t samples, bool drop_last, int64_t least_batch = 1);

  int64_t total_steps() const { return total_steps_; }
  // Steps of the first so many epochs, the last of them in part: rounded to whole steps.
  int64_t steps_of_first(double epochs) const;
  // Of the step, or of the end of the run (as the start of the epoch behind the last).
  BatchPosition position(int64_t step) const;

 private:
  int64_t steps_per_epoch(const BatchPhase& phase) const;

  std::vector<BatchPhase> phases_;
  int64_t samples_;
  bool drop_last_;
  int64_t least_batch_;
  int64_t total_steps_ = 0;
};

}  // namespace noisysgd
