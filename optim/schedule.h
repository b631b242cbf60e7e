// Learning rate as a function of the place in the run: a schedule by its type, after a linear warm-up that all types share.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <noisysgd/core/registry.h>

namespace noisysgd {

// A function without state, so that a resumed run continues with the same rates.
class Schedule {
 public:
  virtual ~Schedule() = default;
  // Factor of the base rate after so many epochs, in fractions, of a run of `epochs`. Finite and at least 0.
  virtual double factor(double epoch, double epochs) const = 0;
  // The keys of the configuration that count epochs, numbers or lists of them: a budget shortens them.
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
  // Reads {"type": …, "warmup", the type's own keys} for a run of so many epochs.
  static LearningRateSchedule read(const ConfigReader& json, const ScheduleRegistry& registry, double epochs);

  const std::string& type() const { return type_; }
  // Factor of the base rate at `step` (from 0) of a run of `epochs` epochs of `steps_per_epoch` steps. Throws Error for
  // one that is no rate.
  double factor(int64_t step, int64_t steps_per_epoch, double epochs) const;
  // Multiplies what the configuration that it was read from counts in epochs.
  void shorten(Json& configuration, double factor) const;

 private:
  std::string type_;
  std::shared_ptr<const Schedule> schedule_;
  // The rate grows linearly from warmup_start of it and reaches it with the last step of the warm-up.
  double warmup_epochs_ = 0, warmup_start_ = 0;
};

}  // namespace noisysgd
