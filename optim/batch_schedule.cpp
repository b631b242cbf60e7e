#include <noisysgd/optim/batch_schedule.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include <noisysgd/kernels/check.h>

namespace noisysgd {

namespace {
constexpr int64_t most_steps = 2'147'483'647;
}

BatchSchedule::BatchSchedule(std::vector<BatchPhase> phases, int64_t images, bool drop_last,
                             const SampleCoupling& coupling)
    : phases_(std::move(phases)), images_(images), drop_last_(drop_last) {
  NSGD_CHECK(!phases_.empty(), "a run needs a batch size");
  for (const BatchPhase& phase : phases_) {
    const int64_t incomplete = images % phase.size;
    const Epoch epoch{images / phase.size, coupling.usable(phase.size), drop_last ? 0 : coupling.usable(incomplete)};
    NSGD_CHECK(epoch.steps() > 0, "{}: {} training images make no batch of {}",
               drop_last ? "batch.drop_last" : "batch.size", images, phase.size);
    NSGD_CHECK(epoch.whole > 0, "batch.size: batch_norm has one value per channel in batches of {}; use larger ones",
               phase.size);
    // Both factors have 31 bits; the step number of the random streams has 32.
    total_steps_ += phase.epochs * epoch.steps();
    NSGD_CHECK(total_steps_ <= most_steps, "epochs: {} of {} steps each make more than {} steps", phase.epochs,
               epoch.steps(), most_steps);
    epochs_.push_back(epoch);
  }
}

int64_t BatchSchedule::steps_of_first(double epochs) const {
  int64_t steps = 0;
  for (size_t i = 0; i < phases_.size(); ++i) {
    const double part = std::clamp(epochs, 0.0, static_cast<double>(phases_[i].epochs));
    // Half a step is rounded up, also where a fraction of the run gives half a step but for the last bits.
    const double exact = part * static_cast<double>(epochs_[i].steps());
    steps += std::llround(exact + 1e-14 * exact);
    epochs -= part;
  }
  return steps;
}

BatchPosition BatchSchedule::position(int64_t step) const {
  int64_t epoch = 0;
  for (size_t i = 0; i < phases_.size(); ++i) {
    const BatchPhase& phase = phases_[i];
    const int64_t steps = epochs_[i].steps();
    if (step < phase.epochs * steps || &phase == &phases_.back()) {
      const bool last = step % steps == epochs_[i].whole_batches;
      return {epoch + step / steps, step % steps, steps, last ? epochs_[i].last : epochs_[i].whole, &phase};
    }
    epoch += phase.epochs;
    step -= phase.epochs * steps;
  }
  throw Error("a batch schedule without phases");  // the constructor refuses it
}

std::vector<std::string> BatchSchedule::left_out() const {
  std::vector<std::string> lines;
  int64_t first = 1;
  for (size_t i = 0; i < phases_.size(); ++i) {
    const BatchPhase& phase = phases_[i];
    const Epoch& epoch = epochs_[i];
    const int64_t incomplete = images_ % phase.size, used = epoch.whole_batches * epoch.whole + epoch.last;
    std::vector<std::string> reasons;
    if (epoch.whole_batches > 0 && epoch.whole < phase.size)
      reasons.push_back(fmt::format("batches of {} are cut to {} for whole ghost batches", phase.size, epoch.whole));
    if (epoch.last == 0 && incomplete > 0)
      reasons.push_back(fmt::format("the last {} are {}", incomplete,
                                    drop_last_ ? "no whole batch (batch.drop_last)" : "too few to be normalised"));
    else if (epoch.last < incomplete)
      reasons.push_back(fmt::format("the last {} are cut to {} for whole ghost batches", incomplete, epoch.last));
    if (!reasons.empty())
      lines.push_back(fmt::format("{}each epoch leaves out {} of {} training images: {}",
                                  phases_.size() == 1 ? "" : fmt::format("from epoch {}: ", first), images_ - used,
                                  images_, fmt::join(reasons, ", ")));
    first += phase.epochs;
  }
  return lines;
}

}  // namespace noisysgd
