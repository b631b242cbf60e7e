// Learning rate as a function of the step: constant, step milestones or cosine, behind a linear warm-up.
#pragma once

#include <cstdint>
#include <vector>

#include <noisysgd/core/config.h>

namespace noisysgd {

enum class ScheduleType { constant, step, cosine };

struct ScheduleOptions {
  ScheduleType type = ScheduleType::constant;
  std::vector<double> milestones;  // step: epochs after which the rate is multiplied by factor
  double factor = 0.1;
  double final_fraction = 0.0;  // cosine: rate at the end, as a fraction of the first
  double warmup_epochs = 0;  // the rate grows linearly from warmup_start*rate, reaching it with the last warm-up step
  double warmup_start = 0;
};

ScheduleOptions read_schedule(const ConfigReader& json, double epochs);

// Multiplier of the base rate at `step` (from 0) of a run of `epochs` epochs of `steps_per_epoch` steps.
double schedule_factor(const ScheduleOptions& options, int64_t step, int64_t steps_per_epoch, double epochs);

}  // namespace noisysgd
