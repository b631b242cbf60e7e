// What a training run counts on its device, and the values that its ops read there from step to step: the host neither
// waits for the one nor sends the other by copies of its own memory.
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

// *to = values, at the place of the call among the queue's ops.
NSGD_OP(set_step_values, void(Queue& queue, const StepValues& values, StepValues* to));

struct TrainingSums {
  LossSums step;           // of the step under way
  LossSums epoch, window;  // of whole steps, since the latest restart
  StepNorms norms;          // of the latest step
  // Set by the first step whose loss is not finite (or has a label that is no class): `halted` of later updates.
  uint32_t halted = 0;
  uint32_t halted_step = 0;
  LossSums halted_sums;  // of that step
};

// When all losses of the step are in sums->step: adds them to the epoch and the window, notes a loss that is not
// finite, and clears the sums and norms for what follows.
NSGD_OP(close_step, void(Queue& queue, StepNumber step, TrainingSums* sums));
// Clears the sums of a step that was given up, and the window's or the epoch's.
NSGD_OP(restart_sums, void(Queue& queue, bool window, bool epoch, TrainingSums* sums));

// The parts that both backends share.
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
