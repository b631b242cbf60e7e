#include <noisysgd/optim/schedule.h>

#include <cmath>

#include <noisysgd/core/json.h>
#include "tests/catch.h"

using namespace noisysgd;

namespace {

ScheduleOptions read(const std::string& json, double epochs) {
  Config config(parse_json(json, "test"), "test");
  const ScheduleOptions options = read_schedule(config.root(), epochs);
  config.finish();
  return options;
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
  const ScheduleOptions options = read("{}", 10);
  for (const int64_t step : {0, 1, 500, 999}) CHECK(schedule_factor(options, step, 100, 10) == 1.0);
}

TEST_CASE("milestones multiply the rate from the first step of their epoch on") {
  const ScheduleOptions options = read(R"({"type": "step", "milestones": [2, 3.5], "factor": 0.2})", 5);
  CHECK(schedule_factor(options, 0, 10, 5) == 1.0);
  CHECK(schedule_factor(options, 19, 10, 5) == 1.0);
  CHECK(schedule_factor(options, 20, 10, 5) == Approx(0.2));
  CHECK(schedule_factor(options, 34, 10, 5) == Approx(0.2));
  CHECK(schedule_factor(options, 35, 10, 5) == Approx(0.04));
  CHECK(schedule_factor(options, 49, 10, 5) == Approx(0.04));
}

TEST_CASE("the cosine falls from 1 to its final fraction") {
  const ScheduleOptions options = read(R"({"type": "cosine"})", 4);
  CHECK(schedule_factor(options, 0, 10, 4) == 1.0);
  CHECK(schedule_factor(options, 10, 10, 4) == Approx(0.5 * (1 + std::sqrt(0.5))));
  CHECK(schedule_factor(options, 20, 10, 4) == Approx(0.5));
  CHECK(schedule_factor(options, 40, 10, 4) == Approx(0.0).margin(1e-15));
  const ScheduleOptions floor = read(R"({"type": "cosine", "final_fraction": 0.1})", 4);
  CHECK(schedule_factor(floor, 20, 10, 4) == Approx(0.55));
  CHECK(schedule_factor(floor, 40, 10, 4) == Approx(0.1));
}

TEST_CASE("the warm-up grows linearly and reaches the rate with its last step") {
  const ScheduleOptions options = read(R"({"warmup": {"epochs": 2}})", 10);  // 10 steps
  CHECK(schedule_factor(options, 0, 5, 10) == Approx(0.1));
  CHECK(schedule_factor(options, 4, 5, 10) == Approx(0.5));
  CHECK(schedule_factor(options, 9, 5, 10) == Approx(1.0));
  CHECK(schedule_factor(options, 10, 5, 10) == 1.0);
  const ScheduleOptions start = read(R"({"warmup": {"epochs": 2, "start": 0.5}})", 10);
  CHECK(schedule_factor(start, 0, 5, 10) == Approx(0.55));
  CHECK(schedule_factor(start, 9, 5, 10) == Approx(1.0));
  const ScheduleOptions fraction = read(R"({"warmup": {"epochs": 0.5}})", 10);  // 2.5 steps
  CHECK(schedule_factor(fraction, 0, 5, 10) == Approx(0.4));
  CHECK(schedule_factor(fraction, 1, 5, 10) == Approx(0.8));
  CHECK(schedule_factor(fraction, 2, 5, 10) == 1.0);
}

TEST_CASE("warm-up and milestones multiply") {
  const ScheduleOptions options = read(R"({"type": "step", "milestones": [1], "warmup": {"epochs": 2}})", 3);
  CHECK(schedule_factor(options, 14, 10, 3) == Approx(0.1 * 0.75));
  CHECK(schedule_factor(options, 29, 10, 3) == Approx(0.1));
}

TEST_CASE("bad schedules are refused") {
  CHECK(first_problem(R"({"type": "step", "milestones": [3, 2]})", 5) == "$.milestones: must increase");
  CHECK(first_problem(R"({"warmup": {"epochs": 6}})", 5) ==
        "$.warmup.epochs: must be at most the run's epochs, 5, got 6; \"budget\" shortens both");
  CHECK_THROWS_AS(read(R"({"type": "step"})", 5), ConfigError);
  CHECK_THROWS_AS(read(R"({"milestones": [3]})", 5), ConfigError);  // not an option of a constant rate
  CHECK_THROWS_AS(read(R"({"type": "cosine", "final_fraction": 1.5})", 5), ConfigError);
}
