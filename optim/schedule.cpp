#include <noisysgd/optim/schedule.h>

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include <noisysgd/core/json.h>

namespace noisysgd {

namespace {

class ConstantRate : public Schedule {
 public:
  double factor(double, double) const override { return 1; }
};

class StepDecay : public Schedule {
 public:
  static std::unique_ptr<Schedule> read(const ConfigReader& json) {
    auto schedule = std::make_unique<StepDecay>();
    auto& milestones = schedule->milestones_ = json.numbers("milestones", {.each = {.above = 0}});
    schedule->factor_ = json.number("factor", {.default_value = 0.1, .above = 0});
    for (size_t i = 1; i < milestones.size(); ++i)
      if (milestones[i] <= milestones[i - 1]) json.error("milestones", "must increase");
    return schedule;
  }

  double factor(double epoch, double) const override {
    double factor = 1;
    for (const double milestone : milestones_)
      if (epoch >= milestone) factor *= factor_;
    return factor;
  }
  std::vector<std::string> epoch_keys() const override { return {"milestones"}; }

 private:
  std::vector<double> milestones_;  // epochs after which the rate is multiplied by factor_
  double factor_ = 0.1;
};

class Cosine : public Schedule {
 public:
  explicit Cosine(double final_fraction) : final_fraction_(final_fraction) {}
  static std::unique_ptr<Schedule> read(const ConfigReader& json) {
    return std::make_unique<Cosine>(
        json.number("final_fraction", {.default_value = 0, .at_least = 0, .at_most = 1}));
  }

  double factor(double epoch, double epochs) const override {
    const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * std::min(1.0, epoch / epochs)));
    return final_fraction_ + (1 - final_fraction_) * cosine;
  }

 private:
  double final_fraction_;  // the rate at the end, as a fraction of the first
};

void multiply(Json& value, double factor) {
  if (value.is_array())
    for (Json& entry : value) multiply(entry, factor);
  else if (value.is_number())
    value = value.get<double>() * factor;
}

}  // namespace

ScheduleRegistry ScheduleRegistry::builtin() {
  ScheduleRegistry registry;
  registry.add("constant", [](const ConfigReader&) { return std::make_unique<ConstantRate>(); });
  registry.add("step", StepDecay::read);
  registry.add("cosine", Cosine::read);
  return registry;
}

LearningRateSchedule LearningRateSchedule::read(const ConfigReader& json, const ScheduleRegistry& registry,
                                                double epochs) {
  LearningRateSchedule result;
  result.type_ = registry.read_type(json, "constant");
  result.schedule_ = registry.at(result.type_)(json);
  const ConfigReader warmup = json.object("warmup");
  result.warmup_epochs_ = warmup.number("epochs", {.default_value = 0, .at_least = 0});
  result.warmup_start_ = warmup.number("start", {.default_value = 0, .at_least = 0, .at_most = 1});
  if (result.warmup_epochs_ > epochs)
    warmup.error("epochs", fmt::format("must be at most the run's epochs, {}, got {}; \"budget\" shortens both", epochs,
                                       result.warmup_epochs_));
  return result;
}

double LearningRateSchedule::factor(int64_t step, int64_t steps_per_epoch, double epochs) const {
  const double epoch = static_cast<double>(step) / static_cast<double>(steps_per_epoch);
  double factor = schedule_->factor(epoch, epochs);
  NSGD_CHECK(std::isfinite(factor) && factor >= 0,
             "schedule.type: \"{}\" gives the factor {} at epoch {}, expected a finite number of at least 0", type_,
             factor, epoch);
  const double warmup_steps = warmup_epochs_ * static_cast<double>(steps_per_epoch);
  if (static_cast<double>(step) < warmup_steps) {
    const double progress = std::min(1.0, static_cast<double>(step + 1) / warmup_steps);
    factor *= warmup_start_ + (1 - warmup_start_) * progress;
  }
  return factor;
}

void LearningRateSchedule::shorten(Json& configuration, double factor) const {
  for (const std::string& key : schedule_->epoch_keys())
    if (configuration.contains(key)) multiply(configuration[key], factor);
  multiply(configuration["warmup"]["epochs"], factor);
}

}  // namespace noisysgd
