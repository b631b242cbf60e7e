// Whole training steps of one network, the trainer's own (apps/bench/training.h): plain, and with each kind of noise
// that has a cost of its own; and what the loader does for a batch. A device replays them as graphs if NSGD_GRAPH does
// not forbid it. Time is measured in turns within one process, memory before that in a fresh context per variant.
#pragma once

#include <string>
#include <vector>

#include <noisysgd/apps/bench/section.h>
#include <noisysgd/core/tensor.h>

namespace noisysgd::bench {

struct StepOptions {
  int64_t batch = 4096;
  int64_t micro = 0;  // samples per forward and backward pass; 0: the whole batch
  int threads = 0;
  int rounds = 9;
  Device device;
  kernels::Precision precision = kernels::Precision::fp32;
  std::vector<std::string> variants;  // of step_variants(), beside the plain step; empty: all
};

std::vector<std::string> step_variants();
// Runs so many steps of each variant and measures nothing: for a profiler.
void run_steps(const std::string& network, const StepOptions& options, int steps);
Section measure_steps(const std::string& network, const StepOptions& options);

}  // namespace noisysgd::bench
