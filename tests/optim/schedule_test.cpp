#include <noisysgd/optim/schedule.h>

#include <algorithm>
#include <cmath>

#include <noisysgd/core/json.h>
#include "tests/catch.h"

using namespace noisysgd;

namespace {

LearningRateSchedule read(const std::string& json, double epochs,
                          const ScheduleRegistry& registry = ScheduleRegistry::builtin()) {
  Config config(parse_json(json, "test"), "test");
  const LearningRateSchedule schedule = LearningRateSchedule::read(config.root(), registry, epochs);
  config.finish();
  return schedule;
}

std::string first_problem(const std::string& json, double epochs) {
  try {
    read(json, epochs);
  } catch (const ConfigError& error) {
    return error.problems().front();
  }
  return "";
}

}  // namespace

TEST_CASE("a constant rate") {
  const LearningRateSchedule schedule = read("{}", 10);
  for (const int64_t step : {0, 1, 500, 999}) CHECK(schedule.factor(step, 100, 10) == 1.0);
}

TEST_CASE("milestones multiply the rate from the first step of their epoch on") {
  const LearningRateSchedule schedule = read(R"({"type": "step", "milestones": [2, 3.5], "factor": 0.2})", 5);
  CHECK(schedule.factor(0, 10, 5) == 1.0);
  CHECK(schedule.factor(19, 10, 5) == 1.0);
  CHECK(schedule.factor(20, 10, 5) == Approx(0.2));
  CHECK(schedule.factor(34, 10, 5) == Approx(0.2));
  CHECK(schedule.factor(35, 10, 5) == Approx(0.04));
  CHECK(schedule.factor(49, 10, 5) == Approx(0.04));
}

TEST_CASE("the cosine falls from 1 to its final fraction") {
  const LearningRateSchedule schedule = read(R"({"type": "cosine"})", 4);
  CHECK(schedule.factor(0, 10, 4) == 1.0);
  CHECK(schedule.factor(10, 10, 4) == Approx(0.5 * (1 + std::sqrt(0.5))));
  CHECK(schedule.factor(20, 10, 4) == Approx(0.5));
  CHECK(schedule.factor(40, 10, 4) == Approx(0.0).margin(1e-15));
  const LearningRateSchedule floor = read(R"({"type": "cosine", "final_fraction": 0.1})", 4);
  CHECK(floor.factor(20, 10, 4) == Approx(0.55));
  CHECK(floor.factor(40, 10, 4) == Approx(0.1));
}

TEST_CASE("the warm-up grows linearly and reaches the rate with its last step") {
  const LearningRateSchedule schedule = read(R"({"warmup": {"epochs": 2}})", 10);  // 10 steps
  CHECK(schedule.factor(0, 5, 10) == Approx(0.1));
  CHECK(schedule.factor(4, 5, 10) == Approx(0.5));
  CHECK(schedule.factor(9, 5, 10) == Approx(1.0));
  CHECK(schedule.factor(10, 5, 10) == 1.0);
  const LearningRateSchedule start = read(R"({"warmup": {"epochs": 2, "start": 0.5}})", 10);
  CHECK(start.factor(0, 5, 10) == Approx(0.55));
  CHECK(start.factor(9, 5, 10) == Approx(1.0));
  const LearningRateSchedule fraction = read(R"({"warmup": {"epochs": 0.5}})", 10);  // 2.5 steps
  CHECK(fraction.factor(0, 5, 10) == Approx(0.4));
  CHECK(fraction.factor(1, 5, 10) == Approx(0.8));
  CHECK(fraction.factor(2, 5, 10) == 1.0);
}

TEST_CASE("warm-up and milestones multiply") {
  const LearningRateSchedule schedule = read(R"({"type": "step", "milestones": [1], "warmup": {"epochs": 2}})", 3);
  CHECK(schedule.factor(14, 10, 3) == Approx(0.1 * 0.75));
  CHECK(schedule.factor(29, 10, 3) == Approx(0.1));
}

TEST_CASE("bad schedules are refused") {
  CHECK(first_problem(R"({"type": "step", "milestones": [3, 2]})", 5) == "$.milestones: must increase");
  CHECK(first_problem(R"({"warmup": {"epochs": 6}})", 5) ==
        "$.warmup.epochs: must be at most the run's epochs, 5, got 6; \"budget\" shortens both");
  CHECK_THROWS_AS(read(R"({"type": "step"})", 5), ConfigError);
  CHECK_THROWS_AS(read(R"({"milestones": [3]})", 5), ConfigError);  // not an option of a constant rate
  CHECK_THROWS_AS(read(R"({"type": "cosine", "final_fraction": 1.5})", 5), ConfigError);
}

TEST_CASE("a user-defined schedule gets the warm-up, and its keys in epochs are shortened") {
  class Cooldown : public Schedule {  // the rate falls linearly to 0 over the last epochs
   public:
    explicit Cooldown(double length) : length_(length) {}
    double factor(double epoch, double epochs) const override { return std::min(1.0, (epochs - epoch) / length_); }
    std::vector<std::string> epoch_keys() const override { return {"length", "unwritten"}; }

   private:
    double length_;
  };
  ScheduleRegistry registry = ScheduleRegistry::builtin();
  registry.add("cooldown", [](const ConfigReader& json) { return std::make_unique<Cooldown>(json.number("length")); });
  const char* const json = R"({"type": "cooldown", "length": 2, "warmup": {"epochs": 1}})";
  const LearningRateSchedule schedule = read(json, 4, registry);
  CHECK(schedule.type() == "cooldown");
  CHECK(schedule.factor(0, 10, 4) == Approx(0.1));
  CHECK(schedule.factor(15, 10, 4) == 1.0);
  CHECK(schedule.factor(30, 10, 4) == Approx(0.5));
  Json configuration = parse_json(json, "test");
  schedule.shorten(configuration, 0.5);
  CHECK(configuration == parse_json(R"({"type": "cooldown", "length": 1.0, "warmup": {"epochs": 0.5}})", "test"));
  CHECK_THROWS_WITH(schedule.factor(50, 10, 4), "schedule.type: \"cooldown\" gives the factor -0.5 at epoch 5, "
                                                "expected a finite number of at least 0");
}
