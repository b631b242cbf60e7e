// The part of a checkpoint that is not tensors: the progress of a run, its counters, and the sizes of its logs.
#pragma once

#include <functional>
#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/kernels/softmax_cross_entropy.h>

namespace noisysgd {

// Sums over some steps.
struct Meter {
  double loss = 0;
  int64_t correct = 0, samples = 0;

  static Meter from(const kernels::LossSums& sums) { return {sums.loss, sums.correct, sums.samples}; }
  kernels::LossSums sums() const { return {.loss = loss, .correct = correct, .samples = samples}; }
  double mean_loss() const { return samples ? loss / static_cast<double>(samples) : 0; }
  double accuracy() const { return samples ? static_cast<double>(correct) / static_cast<double>(samples) : 0; }
};

// The counters of a run after a given number of steps.
struct Counts {
  int64_t epochs = 0;                             // complete
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
  double seconds = 0;  // spent so far, by all processes that worked on the run
  uint64_t metrics_bytes = 0;
  std::string events_file;  // in the run's folder
  uint64_t events_bytes = 0;

  Json json() const;
  // Throws Error that names the key if it is unknown, or if its value is missing, of another type, out of range, not
  // finite, or not what the run has at this step.
  static TrainingState from(const Json& json, const StateLimits& limits);
};

}  // namespace noisysgd
