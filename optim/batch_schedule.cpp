#include "optim/batch_schedule.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace noisysgd {

namespace {
constexpr int64_t most_steps = 2'147'483'647;
}

BatchSchedule::BatchSchedule(std::vector<BatchPhase> phases, int64_t samples, bool drop_last, int64_t least_batch)
    : phases_(std::move(phases)), samples_(samples), drop_last_(drop_last), least_batch_(least_batch) {
  NSGD_CHECK(!phases_.empty(), "a run needs a batch size");
  for (const BatchPhase& phase : phases_) {
    const int64_t steps = steps_per_epoch(phase);
    NSGD_CHECK(steps > 0, "{}{} training images make no batch of {}", drop_last_ ? "batch.drop_last: " : "", samples_,
               phase.size);
    // Both factors have 31 bits; the step number of the random streams has 32.
    total_steps_ += phase.epochs * steps;
    NSGD_CHECK(total_steps_ <= most_steps, "epochs: {} of {} steps each make more than {} steps", phase.epochs, steps,
               most_steps);
  }
}

int64_t BatchSchedule::steps_per_epoch(const BatchPhase& phase) const {
  const int64_t incomplete = samples_ % phase.size;
  const bool left_out = incomplete == 0 || drop_last_ || incomplete < least_batch_;
  return samples_ / phase.size + (left_out ? 0 : 1);
}

int64_t BatchSchedule::steps_of_first(double epochs) const {
  int64_t steps = 0;
  for (const BatchPhase& phase : phases_) {
    const double part = std::clamp(epochs, 0.0, static_cast<double>(phase.epochs));
    steps += std::llround(part * static_cast<double>(steps_per_epoch(phase)));
    epochs -= part;
  }
  return steps;
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
