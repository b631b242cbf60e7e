// What a checkpoint says beside its tensors: how far a run has come, what it has counted, and how much of its logs
// belongs to it.
#pragma once

#include <functional>
#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/kernels/softmax_cross_entropy.h>

namespace noisysgd {

// Sums of a metric over some steps.
struct Meter {
  double loss = 0;
  int64_t correct = 0, samples = 0;

  static Meter from(const kernels::LossSums& sums) { return {sums.loss, sums.correct, sums.samples}; }
  kernels::LossSums sums() const { return {.loss = loss, .correct = correct, .samples = samples}; }
  double mean_loss() const { return samples ? loss / static_cast<double>(samples) : 0; }
  double accuracy() const { return samples ? static_cast<double>(correct) / static_cast<double>(samples) : 0; }
};

// What a run has counted when so many of its steps are done.
struct Counts {
  int64_t epochs = 0;                             // whole ones
  int64_t epoch = 0, window = 0, last_epoch = 0;  // samples: see TrainingState
};

// The run that a state belongs to.
struct StateLimits {
  int64_t steps = 0;  // of the whole run
  std::function<Counts(int64_t step)> counts;
};

struct TrainingState {
  int64_t step = 0;     // steps done
  Meter epoch, window;  // since the start of the epoch, since the last log line
  Meter last_epoch;     // the latest whole epoch
  double test_loss = 0, test_accuracy = 0, best_accuracy = 0;
  int64_t best_epoch = 0;
  double seconds = 0;  // spent so far, over all sittings
  uint64_t metrics_bytes = 0;
  std::string events_file;  // in the run's folder
  uint64_t events_bytes = 0;

  Json json() const;
  // Throws Error naming the key whose value is missing, of another type, out of range, not finite, or not what the run
  // would have at this step, or that is unknown.
  static TrainingState from(const Json& json, const StateLimits& limits);
};

}  // namespace noisysgd
