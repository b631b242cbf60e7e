#include <noisysgd/optim/schedule.h>

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace noisysgd {

ScheduleOptions read_schedule(const ConfigReader& json, double epochs) {
  ScheduleOptions options;
  options.type = json.choice<ScheduleType>(
      "type", {{"constant", ScheduleType::constant}, {"step", ScheduleType::step}, {"cosine", ScheduleType::cosine}},
      ScheduleType::constant);
  if (options.type == ScheduleType::step) {
    options.milestones = json.numbers("milestones", {.each = {.above = 0}});
    options.factor = json.number("factor", {.default_value = 0.1, .above = 0});
    for (size_t i = 1; i < options.milestones.size(); ++i)
      if (options.milestones[i] <= options.milestones[i - 1]) json.error("milestones", "must increase");
  }
  if (options.type == ScheduleType::cosine)
    options.final_fraction = json.number("final_fraction", {.default_value = 0, .at_least = 0, .at_most = 1});
  const ConfigReader warmup = json.object("warmup");
  options.warmup_epochs = warmup.number("epochs", {.default_value = 0, .at_least = 0});
  options.warmup_start = warmup.number("start", {.default_value = 0, .at_least = 0, .at_most = 1});
  if (options.warmup_epochs > epochs)
    warmup.error("epochs", fmt::format("must be at most the run's epochs, {}, got {}; \"budget\" shortens both", epochs,
                                       options.warmup_epochs));
  return options;
}

double schedule_factor(const ScheduleOptions& options, int64_t step, int64_t steps_per_epoch, double epochs) {
  const double epoch = static_cast<double>(step) / static_cast<double>(steps_per_epoch);
  double factor = 1;
  if (options.type == ScheduleType::step) {
    for (const double milestone : options.milestones)
      if (epoch >= milestone) factor *= options.factor;
  } else if (options.type == ScheduleType::cosine) {
    const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, epoch / epochs)));
    factor = options.final_fraction + (1 - options.final_fraction) * cosine;
  }
  const double warmup_steps = options.warmup_epochs * static_cast<double>(steps_per_epoch);
  if (static_cast<double>(step) < warmup_steps) {
    const double progress = std::min(1.0, static_cast<double>(step + 1) / warmup_steps);
    factor *= options.warmup_start + (1 - options.warmup_start) * progress;
  }
  return factor;
}

}  // namespace noisysgd
