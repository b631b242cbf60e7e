// The learning rate as a function of the position in the run: a schedule of some type, times a linear warm-up that all
// types share.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <noisysgd/core/registry.h>

namespace noisysgd {

// A function without state: a resumed run continues with the same rates.
class Schedule {
 public:
  virtual ~Schedule() = default;
  // Factor of the base rate after `epoch` (fractional) of `epochs` epochs. Finite and at least 0.
  virtual double factor(double epoch, double epochs) const = 0;
  // The configuration keys with numbers, or lists of numbers, in units of epochs; a budget shortens them.
  virtual std::vector<std::string> epoch_keys() const { return {}; }
};

using ScheduleBuilder = std::function<std::unique_ptr<Schedule>(const ConfigReader& json)>;

class ScheduleRegistry : public Registry<ScheduleBuilder> {
 public:
  ScheduleRegistry() : Registry("a schedule") {}
  static ScheduleRegistry builtin();
};

// A configured schedule with its warm-up. Copies share the schedule.
class LearningRateSchedule {
 public:
  // Reads {"type": …, "warmup", the type's own keys} for a run of `epochs` epochs.
  static LearningRateSchedule read(const ConfigReader& json, const ScheduleRegistry& registry, double epochs);

  const std::string& type() const { return type_; }
  // Factor of the base rate at `step` (from 0) of a run of `epochs` epochs of `steps_per_epoch` steps. Throws Error if
  // the schedule returns a factor that is negative or not finite.
  double factor(int64_t step, int64_t steps_per_epoch, double epochs) const;
  // Multiplies all values in units of epochs in the configuration that the schedule was read from.
  void shorten(Json& configuration, double factor) const;

 private:
  std::string type_;
  std::shared_ptr<const Schedule> schedule_;
  // The rate grows linearly from the fraction warmup_start_ and is reached at the last step of the warm-up.
  double warmup_epochs_ = 0, warmup_start_ = 0;
};

}  // namespace noisysgd
