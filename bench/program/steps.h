// Benchmarks whole training steps of one network, the same as the trainer's (bench/program/training.h): plain, and with
// each kind of noise that has its own cost; also the loading of a batch. A CUDA device replays the steps as graphs
// unless NSGD_GRAPH=0. Memory is measured first, in a fresh context per variant; then times are measured in turns
// within one process.
#pragma once

#include <string>
#include <vector>

#include <noisysgd/bench/report.h>
#include <noisysgd/core/tensor.h>

namespace noisysgd::bench {

struct StepOptions {
  int64_t batch = 4096;
  int64_t micro = 0;  // samples per forward and backward pass; 0: the whole batch
  int threads = 0;
  int rounds = 9;
  Device device;
  kernels::Precision precision = kernels::Precision::fp32;
  std::vector<std::string> variants;  // of step_variants(), in addition to the plain step; empty: all
};

std::vector<std::string> step_variants();
// Runs `steps` steps of each variant and measures nothing, for a profiler.
void run_steps(const std::string& network, const StepOptions& options, int steps);
Section measure_steps(const std::string& network, const StepOptions& options);

}  // namespace noisysgd::bench
