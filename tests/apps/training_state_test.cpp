// The state read from a checkpoint: every member is checked, because the folder may be from anyone.
#include <noisysgd/apps/training_state.h>

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// Four epochs of three steps with 10, 10 and 5 samples; every second step has a log line.
Counts counts_at(int64_t step) {
  const auto samples = [](int64_t begin, int64_t end) {
    int64_t sum = 0;
    for (int64_t s = begin; s < end; ++s) sum += s % 3 == 2 ? 5 : 10;
    return sum;
  };
  const int64_t epochs = step / 3;
  return {epochs, samples(3 * epochs, step), samples(step / 2 * 2, step), epochs > 0 ? 25 : 0};
}

const StateLimits limits{12, counts_at};

TrainingState state_at_step_5() {
  TrainingState state;
  state.step = 5;
  state.epoch = {30.5, 7, 20};
  state.window = {15.25, 3, 10};
  state.last_epoch = {40, 9, 25};
  state.test_loss = 1.5;
  state.test_accuracy = 0.25;
  state.best_accuracy = 0.5;
  state.best_epoch = 1;
  state.seconds = 2.5;
  state.metrics_bytes = 100;
  state.events_file = "events.out.tfevents.1500000000.host.1";
  state.events_bytes = 200;
  return state;
}

std::string error_of_state(const Json& json) {
  return error_of([&] { TrainingState::from(json, limits); });
}

}  // namespace

TEST_CASE("a training state comes back from its JSON as it was") {
  const Json json = state_at_step_5().json();
  CHECK(TrainingState::from(json, limits).json() == json);
  CHECK(TrainingState::from(parse_json(json.dump(), "text"), limits).json() == json);
}

TEST_CASE("every member of a training state has a type and a range") {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const auto with = [](const std::string& key, const Json& value) {
    Json json = state_at_step_5().json();
    json[key] = value;
    return error_of_state(json);
  };
  CHECK(with("step", 5) == "no error was thrown");
  CHECK(with("step", 3.7) == "\"step\" is 3.7, expected a whole number from 0 to 12");
  for (const Json& step : {Json(-1), Json(-5), Json(13), Json(1e15), Json(1e300), Json(5.0), Json("5"), Json(true),
                           Json(nullptr), Json(uint64_t{1} << 63), Json(Json::array({5})), Json(nan)})
    CHECK(contains(with("step", step), "expected a whole number from 0 to 12"));
  CHECK(contains(with("step", 4), "epoch_sums: \"samples\" is 20, expected 10"));

  for (const char* key : {"test_loss", "test_accuracy", "best_accuracy", "seconds"})
    for (const Json& value : {Json(nullptr), Json(nan), Json(infinity), Json(-infinity), Json("1"), Json(true)}) {
      INFO(key << " " << value.dump());
      CHECK(contains(with(key, value), fmt::format("\"{}\" is ", key)));
    }
  for (const double accuracy : {-0.1, 1.1})
    CHECK(contains(with("test_accuracy", accuracy), "expected a number from 0 to 1"));
  CHECK(contains(with("best_accuracy", 0.2), "expected a number from 0.25 to 1"));  // below that of this epoch
  CHECK(contains(with("best_epoch", 2), "expected a whole number from 0 to 1"));
  for (const char* key : {"seconds", "test_loss"}) CHECK(contains(with(key, -1), "expected a number from 0 on"));
  CHECK(with("steps", 5) == "unknown key \"steps\"");
  for (const char* key : {"metrics_bytes", "events_bytes"})
    for (const Json& value : {Json(-1), Json(0.5), Json(nullptr), Json(~uint64_t{0})})
      CHECK(contains(with(key, value), fmt::format("\"{}\" is {}, expected a whole number from ", key, value.dump())));
  for (const char* name : {"../victim", "/tmp/events.out.tfevents.1", "events.out.tfevents.1/../../victim", "", ".",
                           "metrics.jsonl", "victim"})
    CHECK(contains(with("events_file", name), "\"events_file\" is not the name of a TensorBoard log"));
  CHECK(contains(with("events_file", std::string("events.out.tfevents.1\0x", 23)),
                 "not the name of a TensorBoard log"));
  CHECK(with("events_bytes", 0) == "\"events_bytes\" is 0, expected a whole number from 1 on");
  CHECK(contains(with("events_file", 1), "\"events_file\" is 1, expected a text"));
}

TEST_CASE("the sums of a training state are those of its step") {
  const auto with = [](const std::string& sums, const std::string& key, const Json& value) {
    Json json = state_at_step_5().json();
    json[sums][key] = value;
    return error_of_state(json);
  };
  for (const char* sums : {"epoch_sums", "window_sums", "last_epoch_sums"}) {
    INFO(sums);
    CHECK(with(sums, "loss", 1) == "no error was thrown");
    for (const Json& loss : {Json(nullptr), Json(-1e-300), Json(-3)})
      CHECK(contains(with(sums, "loss", loss),
                     fmt::format("{}: \"loss\" is {}, expected a number from 0 on", sums, loss.dump())));
    CHECK(with(sums, "weight", 1) == fmt::format("{}: unknown key \"weight\"", sums));
    CHECK(contains(with(sums, "samples", 11), fmt::format("{}: \"samples\" is 11, expected", sums)));
    CHECK(contains(with(sums, "correct", 26), fmt::format("{}: \"correct\" is 26, expected", sums)));
    CHECK(contains(with(sums, "correct", -1), fmt::format("{}: \"correct\" is -1, expected", sums)));
  }
  // Before the first epoch has ended nothing has been evaluated.
  TrainingState state = state_at_step_5();
  state.step = 1;
  state.epoch = state.window = {10, 1, 10};
  state.last_epoch = {};
  CHECK(contains(error_of_state(state.json()), "\"test_accuracy\" is 0.25, expected a number from 0 to 0"));
  state.test_accuracy = state.best_accuracy = 0;
  state.best_epoch = 0;
  CHECK(error_of_state(state.json()) == "no error was thrown");
  // The last step is one of the run's.
  state = state_at_step_5();
  state.step = 12;
  state.epoch = state.window = {};
  CHECK(error_of_state(state.json()) == "no error was thrown");
}

TEST_CASE("a training state that lacks a member or is not an object is refused") {
  const Json whole = state_at_step_5().json();
  for (const auto& [key, value] : whole.items()) {
    Json json = whole;
    json.erase(key);
    CHECK(contains(error_of_state(json), fmt::format("\"{}\" is missing", key)));
  }
  for (const Json& json : {Json(nullptr), Json(1), Json("state"), Json::array()})
    CHECK(contains(error_of_state(json), "is no object"));
  Json json = whole;
  json["epoch_sums"] = 3;
  CHECK(contains(error_of_state(json), "epoch_sums: number is no object"));
}
