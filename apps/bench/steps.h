// Whole training steps (zero the sums, accumulate over micro-batches, noisy SGD step) of one network: plain, and with
// each kind of noise that has a cost of its own. Time is measured in turns within one process, memory before that in a
// fresh context per variant: the peak over two steps, or over one where a measurement of few rounds is asked for.
#pragma once

#include <string>
#include <vector>

#include "apps/bench/section.h"

namespace noisysgd::bench {

struct StepOptions {
  int64_t batch = 4096;
  int64_t micro = 0;  // samples per forward and backward pass; 0: the whole batch
  int threads = 0;
  int rounds = 9;
  std::vector<std::string> noises;  // of noise_names(); empty: all. Ratios are to the first.
};

// "plain", "exact", "spatial", "full", …
std::vector<std::string> noise_names();

Section measure_steps(const std::string& network, const StepOptions& options);

}  // namespace noisysgd::bench
