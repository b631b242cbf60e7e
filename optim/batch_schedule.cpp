#include "optim/batch_schedule.h"

#include "kernels/check.h"

namespace noisysgd {

BatchSchedule::BatchSchedule(std::vector<BatchPhase> phases, int64_t samples, bool drop_last)
    : phases_(std::move(phases)), samples_(samples), drop_last_(drop_last) {
  NSGD_CHECK(!phases_.empty(), "a run needs a batch size");
  for (const BatchPhase& phase : phases_) {
    const int64_t steps = steps_per_epoch(phase);
    NSGD_CHECK(steps > 0, "batch.drop_last: {} training images make no batch of {}", samples_, phase.size);
    total_steps_ += phase.epochs * steps;
  }
}

int64_t BatchSchedule::steps_per_epoch(const BatchPhase& phase) const {
  return drop_last_ ? samples_ / phase.size : (samples_ + phase.size - 1) / phase.size;
}

BatchPosition BatchSchedule::position(int64_t step) const {
  int64_t epoch = 0;
  for (const BatchPhase& phase : phases_) {
    const int64_t steps = steps_per_epoch(phase);
    if (step < phase.epochs * steps || &phase == &phases_.back())
      return {epoch + step / steps, step % steps, steps, &phase};
    epoch += phase.epochs;
    step -= phase.epochs * steps;
  }
  throw Error("a batch schedule without phases");  // the constructor has refused it
}

}  // namespace noisysgd
