// An example schedule: the full rate, then a linear decrease to 0 over the last epochs (Hägele et al. 2024).
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <noisysgd/optim/schedule.h>

class Cooldown : public noisysgd::Schedule {
 public:
  explicit Cooldown(double length) : length_(length) {}

  // Its own key; every schedule also has the warm-up.
  static std::unique_ptr<Schedule> read(const noisysgd::ConfigReader& json) {
    return std::make_unique<Cooldown>(json.number("length", {.above = 0}));
  }

  double factor(double epoch, double epochs) const override { return std::min(1.0, (epochs - epoch) / length_); }
  // A trial run with a "budget" shortens it.
  std::vector<std::string> epoch_keys() const override { return {"length"}; }

 private:
  double length_;  // in epochs
};
