// The sums that a training run collects on its device, and the values that its ops read there in each step. The host
// need not wait for the sums, and sets the values by an op instead of copying host memory.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/number.h>
#include <noisysgd/kernels/noise_field.h>
#include <noisysgd/kernels/softmax_cross_entropy.h>

namespace noisysgd::kernels {

struct StepValues {
  uint32_t step = 0, epoch = 0;  // from 0
  int64_t first_sample = 0;      // of the batch in its shuffled epoch
  float learning_rate = 0;
};

// *to = values, in the order of the queue's ops.
NSGD_OP(set_step_values, void(Queue& queue, const StepValues& values, StepValues* to));

struct TrainingSums {
  LossSums step;           // of the current step
  LossSums epoch, window;  // of complete steps since the latest restart
  StepNorms norms;          // of the latest step
  // Set by the first step with a non-finite loss or an invalid label; the optimizers' `halted` from then on.
  uint32_t halted = 0;
  uint32_t halted_step = 0;
  LossSums halted_sums;  // of that step
};

// Requires that sums->step contains all losses of the step. Adds it to the epoch and the window, records a non-finite
// loss or an invalid label, and clears sums->step and the norms.
NSGD_OP(close_step, void(Queue& queue, StepNumber step, TrainingSums* sums));
// Clears the sums of an abandoned step and, if requested, those of the window or the epoch.
NSGD_OP(restart_sums, void(Queue& queue, bool window, bool epoch, TrainingSums* sums));

// The implementation that both backends share.
constexpr void close_step_in(uint32_t step, TrainingSums& sums) {
  const LossSums& own = sums.step;
  add_to(sums.epoch, own);
  add_to(sums.window, own);
  if (sums.halted == 0 && (own.nonfinite != 0 || own.bad_label != 0)) {
    sums.halted = 1;
    sums.halted_step = step;
    sums.halted_sums = own;
  }
  sums.step = {};
  sums.norms = {};
}

constexpr void restart_in(bool window, bool epoch, TrainingSums& sums) {
  sums.step = {};
  if (window) sums.window = {};
  if (epoch) sums.epoch = {};
}

}  // namespace noisysgd::kernels
