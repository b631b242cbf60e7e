// Tuning: points, rungs, what goes on to the next rung, and the choice.
#include <noisysgd/apps/tuning.h>

#include <fmt/format.h>

#include <cmath>
#include <set>

#include "tests/apps/tiny_suite.h"
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// 15, 5 and no points; 81 epochs at a third of the protocol are 27.
constexpr const char* three_regimes = R"({
  "name": "three", "data": {"train_size": 96, "test_size": 32}, "model": {"type": "mlp", "hidden": [8]},
  "batch": {"size": 32}, "epochs": 81, "schedule": {"type": "step", "milestones": [54]},
  "tuning": {"holdout": 24, "budget": 0.3333333333333333, "seeds": [4, 5]},
  "tune": {"optimizer.learning_rate": [0.01, 0.02, 0.05, 0.1, 0.2]},
  "regimes": [{"name": "SB", "batch": {"size": 16}},
              {"name": "LB", "tune": {"optimizer.momentum": [0, 0.5, 0.9]}},
              {"name": "fixed", "tune": null}]})";

Tuning tuning_with(const std::vector<std::string>& assignments, const char* text = three_regimes) {
  GivenDocument given{parse_config(text, "test"), "test", {}, {}};
  for (const std::string& assignment : assignments) apply_override(given.document, assignment);
  return read_tuning(given, {});
}

std::string refused(const std::vector<std::string>& assignments) {
  return error_of([&] { tuning_with(assignments); });
}

Trial trial_of(double accuracy) { return {{.mean = accuracy, .deviation = 0, .count = 1}, false}; }
const Trial diverged{{}, true};

TunedRegime regime_of(const std::vector<double>& rates) {
  TunedRegime regime;
  for (const double rate : rates) regime.points.push_back({{{"optimizer.learning_rate", rate}}, {}});
  return regime;
}

}  // namespace

TEST_CASE("a tuning has all combinations of a regime's values, and rungs that end at its budget") {
  const Tuning tuning = tuning_with({});
  REQUIRE(tuning.regimes.size() == 3);
  REQUIRE(tuning.rungs == 3);  // 15, 5, 2
  CHECK(tuning.budget(0) == Approx(1.0 / 27));
  CHECK(tuning.budget(2) == Approx(1.0 / 3));
  const TunedRegime &small = tuning.regimes[0], &large = tuning.regimes[1];
  CHECK(small.points.size() == 5);
  CHECK(small.first_rung == 1);  // 5, 2
  REQUIRE(large.points.size() == 15);
  CHECK(large.first_rung == 0);
  CHECK(large.points[1].values == Point{{"optimizer.learning_rate", 0.01}, {"optimizer.momentum", 0.5}});
  CHECK(large.points[14].values == Point{{"optimizer.learning_rate", 0.2}, {"optimizer.momentum", 0.9}});
  CHECK(tuning.regimes[2].points.empty());

  const Rung first = rung_of(tuning, 0, {});
  const Experiment& experiment = first.experiment;
  CHECK(experiment.seeds == std::vector<uint64_t>{4, 5});
  CHECK(experiment.columns == std::vector<std::string>{"optimizer.learning_rate", "optimizer.momentum"});
  REQUIRE(experiment.regimes.size() == 15);
  CHECK(experiment.regimes[1].name == "LB,0.01,0.5");
  CHECK(experiment.regimes[1].optimizer.learning_rate == 0.01);
  for (const Regime& regime : experiment.regimes) {
    CHECK(regime.epochs == 3);
    CHECK(regime.effective.at("schedule").at("milestones") == Json{2});
    CHECK(regime.data.dataset.selection().holdout == 24);
  }
}

TEST_CASE("rungs stop where two points are left, and a rung is never as short as the one before") {
  const auto rungs = [](int points, const std::vector<std::string>& more) {
    std::vector<std::string> assignments{"regimes=[]"};
    std::string values = "tune={\"optimizer.learning_rate\": [0.001";
    for (int i = 2; i <= points; ++i) values += fmt::format(", {}", 0.001 * i);
    assignments.push_back(values + "]}");
    assignments.insert(assignments.end(), more.begin(), more.end());
    return tuning_with(assignments).rungs;
  };
  CHECK(rungs(1, {}) == 1);
  CHECK(rungs(3, {}) == 1);  // the next rung would have one point
  CHECK(rungs(4, {}) == 2);
  CHECK(rungs(9, {}) == 2);
  CHECK(rungs(10, {}) == 3);
  CHECK(rungs(4, {"tuning.halving=2"}) == 2);
  CHECK(rungs(100, {}) == 4);            // 100, 34, 12, 4; 27, 9, 3 and 1 epochs
  CHECK(rungs(100, {"epochs=3"}) == 1);  // 1 epoch at the tuning's budget
  CHECK(rungs(100, {"epochs=9"}) == 2);
  CHECK(rungs(100, {"budget=0.1"}) == 2);  // a trial of 8 epochs: 3, 1
}

TEST_CASE("the best of a rung go on: one in `halving`, rounded up, and none that diverged") {
  TunedRegime regime = regime_of({1, 2, 3, 4, 5, 6, 7});
  CHECK(regime.points_of(0, 3) == std::vector<size_t>{0, 1, 2, 3, 4, 5, 6});
  const std::vector<double> accuracies{0.5, 0.7, 0.9, 0.7, 0.6, 0.7, 0.2};
  for (size_t i = 0; i < 7; ++i) regime.points[i].trials[0] = trial_of(accuracies[i]);
  // Of equal ones the earlier.
  CHECK(regime.points_of(1, 3) == std::vector<size_t>{1, 2, 3});
  CHECK(regime.points_of(1, 7) == std::vector<size_t>{2});
  regime.points[2].trials[0] = regime.points[1].trials[0] = diverged;
  CHECK(regime.points_of(1, 3) == std::vector<size_t>{3, 4, 5});
  for (const size_t i : {3, 4, 5}) regime.points[i].trials[1] = trial_of(0.1);
  CHECK(regime.points_of(2, 3) == std::vector<size_t>{3});
  for (TunedPoint& point : regime.points) point.trials[0] = diverged;
  regime.points[6].trials[0] = trial_of(0);
  CHECK(regime.points_of(1, 2) == std::vector<size_t>{6});
  regime.first_rung = 1;
  CHECK(regime.points_of(0, 3).empty());
  CHECK(regime.points_of(1, 3).size() == 7);
}

TEST_CASE("the best point is that of the latest rung in which one did not diverge") {
  TunedRegime regime = regime_of({1, 2, 3});
  CHECK_FALSE(regime.best());
  regime.points[0].trials[0] = trial_of(0.8);
  regime.points[1].trials[0] = trial_of(0.9);
  regime.points[2].trials[0] = trial_of(0.9);
  CHECK(regime.best() == 1);
  regime.points[2].trials[1] = trial_of(0.3);
  CHECK(regime.best() == 2);
  regime.points[2].trials[1] = diverged;
  CHECK(regime.best() == 1);
  for (TunedPoint& point : regime.points) point.trials[2] = diverged;
  CHECK_FALSE(regime.best());
}

TEST_CASE("a choice on the edge of the tried values is told") {
  TunedRegime regime = regime_of({0.1, 0.4, 0.2});
  const auto best_at = [&](size_t best) {
    for (size_t i = 0; i < 3; ++i) regime.points[i].trials[0] = trial_of(i == best ? 0.9 : 0.5);
    return regime.edges();
  };
  CHECK(best_at(0) ==
        std::vector<std::string>{"optimizer.learning_rate=0.1 is the smallest of the values tried; a wider "
                                 "range may hold a better one"});
  CHECK(best_at(1) ==
        std::vector<std::string>{"optimizer.learning_rate=0.4 is the largest of the values tried; a wider "
                                 "range may hold a better one"});
  CHECK(best_at(2).empty());
  regime.drawn = {"optimizer.learning_rate"};
  CHECK(best_at(1) == std::vector<std::string>{"optimizer.learning_rate=0.4 is the largest of the values drawn; more "
                                               "trials or a wider range may hold a better one"});
  // One value is no range, and a text has no order.
  for (TunedPoint& point : regime.points) point.values = {{"epochs", 3}, {"optimizer.type", "sgd"}};
  CHECK(best_at(0).empty());
}

TEST_CASE("points that are as good as the best are told, and no edge where they differ") {
  TunedRegime regime = regime_of({0.1, 0.4, 0.2, 0.3});
  for (size_t i = 0; i < 4; ++i) regime.points[i].trials[0] = trial_of(i < 3 ? 0.9 : 0.5);
  CHECK(regime.best() == 0);
  CHECK(regime.ties() == std::vector<size_t>{1, 2});
  CHECK(regime.edges().empty());
  regime.points[1].trials[0] = diverged;
  CHECK(regime.ties() == std::vector<size_t>{2});
  regime.points[2].trials[0] = trial_of(0.89);
  CHECK(regime.ties().empty());
  CHECK(regime.edges().size() == 1);
  // Only the rung that decides counts, and a value that all of them have is an edge.
  regime.points[0].trials[1] = regime.points[2].trials[1] = trial_of(0.7);
  CHECK(regime.ties() == std::vector<size_t>{2});
  for (TunedPoint& point : regime.points) point.values.push_back({"noise.scale", 2});
  regime.points[3].values.back().value = 1;
  CHECK(regime.edges() ==
        std::vector<std::string>{"noise.scale=2 is the largest of the values tried; a wider range may "
                                 "hold a better one"});

  Tuning tuning = tuning_with({});
  for (TunedPoint& point : tuning.regimes[0].points) point.trials[2] = trial_of(0.5);
  tuning.notes = {"LB at budget 0.1: no noise is drawn"};
  const std::string choices = tuning_choices(tuning);
  CHECK(contains(choices,
                 "SB: 4 other points are as good, so the first is chosen (optimizer.learning_rate=0.02; "
                 "optimizer.learning_rate=0.05; optimizer.learning_rate=0.1; …); "));
  CHECK_FALSE(contains(choices, "wider range"));
  CHECK(contains(tuning_markdown(tuning), "\n* LB at budget 0.1: no noise is drawn\n"));
  CHECK(contains(tuning_plan(tuning), "\nLB at budget 0.1: no noise is drawn\n"));
  CHECK(tuning_json(tuning).at("notes") == Json{"LB at budget 0.1: no noise is drawn"});
}

TEST_CASE("the protocol has the chosen values, and the columns show them") {
  Tuning tuning = tuning_with({});
  tuning.regimes[0].points[3].trials[2] = trial_of(0.9);
  CHECK(contains(error_of([&] { tuning.chosen_document(); }),
                 "test: regime \"LB\": tune: every one of the 15 points diverged"));
  tuning.regimes[1].points[4].trials[0] = trial_of(0.1);
  const Experiment chosen = read_experiment(tuning.chosen_document(), "chosen", {});
  CHECK(chosen.columns == std::vector<std::string>{"optimizer.learning_rate", "optimizer.momentum"});
  CHECK(chosen.seeds == std::vector<uint64_t>{1});
  REQUIRE(chosen.regimes.size() == 3);
  CHECK(chosen.regimes[0].optimizer.learning_rate == 0.1);
  CHECK(chosen.regimes[0].batch.size == 16);
  CHECK(chosen.regimes[1].effective.at("optimizer").at("learning_rate") == 0.02);
  CHECK(chosen.regimes[1].effective.at("optimizer").at("momentum") == 0.5);
  for (const Regime& regime : chosen.regimes) {
    CHECK(regime.epochs == 81);
    CHECK(regime.data.evaluated_set() == "test");
  }
}

TEST_CASE("points are drawn from ranges and lists by seed") {
  const auto points = [](const char* seeds) {
    return tuning_with({"regimes=[]", seeds, R"(tune={"optimizer.learning_rate": {"log_uniform": [0.001, 1]},
        "optimizer.weight_decay": {"log_uniform": [1e-6, 1e-2]}, "optimizer.nesterov": [true, false], "trials": 400})"})
        .regimes[0]
        .points;
  };
  const auto first = points("tuning.seeds=[1]");
  REQUIRE(first.size() == 400);
  int low = 0, low_decay = 0, both = 0, nesterov = 0;
  for (const TunedPoint& point : first) {
    const double rate = point.values[0].value, decay = point.values[1].value;
    CHECK((rate >= 0.001 && rate <= 1 && decay >= 1e-6 && decay <= 1e-2));
    CHECK(point.values[0].value.dump().size() <= 9);  // three digits
    low += rate < std::sqrt(0.001);
    low_decay += decay < 1e-4;
    both += rate < std::sqrt(0.001) && decay < 1e-4;
    nesterov += point.values[2].value.get<bool>();
  }
  // Means 200, 200, 100 and 200, with standard deviations of 10, 10, 8.7 and 10.
  for (const int count : {low, low_decay, 2 * both, nesterov}) CHECK(std::abs(count - 200) < 50);
  CHECK(points("tuning.seeds=[1]")[7].values == first[7].values);
  CHECK(points("tuning.seeds=[2]")[7].values != first[7].values);
}

TEST_CASE("a range of a key that wants integers gives integers of the range") {
  const Tuning tuning = tuning_with({R"(regimes[SB].tune={"batch.size": {"log_uniform": [2.5, 12.5]}, "trials": 200,
      "noise.small_batch": {"log_uniform": [1, 1.5]}, "optimizer.learning_rate": {"log_uniform": [1, 10]}})",
                                     R"(noise={"type": "diagonal_fisher"})"});
  std::set<int64_t> sizes;
  bool broken_rate = false;
  for (const TunedPoint& point : tuning.regimes[0].points)
    for (const auto& [path, value] : point.values) {
      if (path == "noise.small_batch") CHECK(value == 1);
      if (path == "optimizer.learning_rate") broken_rate |= value.get<double>() != std::floor(value.get<double>());
      if (path != "batch.size") continue;
      REQUIRE(value.is_number_integer());
      sizes.insert(value.get<int64_t>());
    }
  CHECK(broken_rate);
  CHECK(sizes == std::set<int64_t>{3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  CHECK(contains(refused({R"(regimes[SB].tune={"batch.size": {"log_uniform": [2.2, 2.8]}, "trials": 3})"}),
                 "$.tune[\"batch.size\"].log_uniform: has no whole number from 2.2 to 2.8, and the key wants one"));
}

TEST_CASE("comments are allowed among the values to choose") {
  const Tuning plain = tuning_with({}),
               remarked = tuning_with({"tune.comment=\"rates\"", "tune[\"$comment 2\"]=\"x\""});
  REQUIRE(remarked.regimes[1].points.size() == plain.regimes[1].points.size());
  for (size_t i = 0; i < plain.regimes[1].points.size(); ++i)
    CHECK(remarked.regimes[1].points[i].values == plain.regimes[1].points[i].values);
  CHECK(contains(refused({"tune.comment=3"}), "$.tune.comment: a comment must be a text, got 3"));
}

TEST_CASE("the plan of a tuning shows each rung with its points, budget and epochs, and the values that are tried") {
  CHECK(tuning_plan(tuning_with({})) ==
        "rung  budget  regime  points  epochs\n"
        "----  ------  ------  ------  ------\n"
        "   1   0.037  LB          15       3\n"
        "   2   0.111  SB           5       9\n"
        "   2   0.111  LB           5       9\n"
        "   3   0.333  SB           2      27\n"
        "   3   0.333  LB           2      27\n"
        "SB: optimizer.learning_rate: 0.01, 0.02, 0.05, 0.1, 0.2\n"
        "LB: optimizer.learning_rate: 0.01, 0.02, 0.05, 0.1, 0.2\n"
        "LB: optimizer.momentum: 0, 0.5, 0.9\n");
}

TEST_CASE("problems of a tuning are told with their keys") {
  const auto tune = [](const char* value) {
    return refused({fmt::format("regimes[LB].tune={{\"optimizer.momentum\": {}}}", value)});
  };
  CHECK(contains(tune("[]"), "$.tune[\"optimizer.momentum\"]: is an empty list; expected values to choose from"));
  CHECK(contains(tune("0.5"), "$.tune[\"optimizer.momentum\"]: is 0.5; expected a list of values or "));
  CHECK(contains(tune("[0.5, [1]]"), "$.tune[\"optimizer.momentum\"]: has [1] among its values; expected numbers"));
  CHECK(contains(tune("[0.5, null]"), "has null among its values"));
  CHECK(contains(tune("[0.5, 0.5]"), "$.tune[\"optimizer.momentum\"]: has the value 0.5 twice"));
  CHECK(contains(tune("{\"log_uniform\": [0, 1]}"), "$.tune[\"optimizer.momentum\"].log_uniform[0]: "));
  CHECK(
      contains(tune("{\"log_uniform\": [-1, 0.5]}"), "$.tune[\"optimizer.momentum\"].log_uniform[0]: must be above 0"));
  CHECK_FALSE(contains(tune("{\"log_uniform\": [-1, 0.5]}"), "begins at"));
  CHECK(contains(tune("{\"log_uniform\": [1]}"), "$.tune[\"optimizer.momentum\"].log_uniform: "));
  CHECK(contains(tune("{\"log_uniform\": [0.9, 0.5]}"), "log_uniform: begins at 0.9 and ends at 0.5"));
  CHECK(contains(tune("{\"log_uniform\": [0.5, 0.9]}"), "is a range, so tune.trials must say how many points"));
  CHECK(contains(tune("{\"uniform\": [0.5, 0.9]}"), "$.tune[\"optimizer.momentum\"].uniform: unknown key"));
  const std::string place = "test: 1 problem\n  regime \"LB\": $.tune[\"optimizer.momentum\"]: ";
  CHECK(tune("[1.5]") == place + "must be below 1, got 1.5");
  CHECK(tune("[0.5, 1.5]") == place + "must be below 1, got 1.5");
  CHECK(contains(tune("[0.5, 1.5, -1]"), "$.tune[\"optimizer.momentum\"]: must be at least 0, got -1"));
  CHECK(contains(refused({R"(regimes[LB].tune["optimizer.momentun"]=[0.5])"}),
                 "$.tune[\"optimizer.momentun\"]: unknown key; did you mean \"momentum\"?"));
  CHECK(contains(refused({R"(regimes[LB].tune["optimiser.momentum"]=[0.5])"}),
                 "$.tune[\"optimiser.momentum\"]: optimiser: unknown key; did you mean \"optimizer\"?"));
  CHECK(contains(refused({R"(tune={"optimizer.momentum": [2]})"}), "$.tune[\"optimizer.momentum\"]: must be below 1"));
  // A key that is wrong beside "tune" stays where it is, and all problems come at once.
  const std::string all = refused({"tuning.seeds=[1, 1]", R"(regimes[SB].tune={"epochs": []})", "regimes[LB].tune=3"});
  for (const char* part :
       {"test: 3 problems", "$.tuning.seeds: has 1 twice", "regime \"SB\": $.tune.epochs: is an empty list",
        "regime \"LB\": $.tune: expected an object"})
    CHECK(contains(all, part));
  const std::string both = refused({R"(regimes[SB].tune={"epochs": [0]})", "regimes[LB].epochs=-1", "fisher.ema=2"});
  for (const char* part : {"test: 3 problems", "$.fisher.ema: must be below 1, got 2",
                           "regime \"SB\": $.tune.epochs: must be at least 1, got 0",
                           "regime \"LB\": $.epochs: must be at least 1, got -1"})
    CHECK(contains(both, part));
  CHECK(contains(refused({"regimes[LB].tune.trials=0"}), "$.tune.trials: "));
  CHECK(contains(refused({"tune={}", "regimes=[]"}), "$.tune: names no value to choose"));
  CHECK(contains(refused({"tune=3", "regimes=[]"}), "$.tune: "));
  CHECK(contains(refused({"regimes=[{\"name\": \"A\", \"tune\": null}]"}),
                 "test: 1 problem\n  $.tune: is missing; --tune needs it"));
  CHECK(contains(refused({"tuning={}"}), "$.tuning.holdout: missing"));
  CHECK(contains(refused({"tuning.holdout=0"}), "$.tuning.holdout: "));
  CHECK(contains(refused({"tuning.halving=1"}), "$.tuning.halving: "));
  CHECK(contains(refused({"tuning.budget=0"}), "$.tuning.budget: "));
  CHECK(contains(refused({"tuning.budget=1.5"}), "$.tuning.budget: "));
  CHECK(contains(refused({"tuning.seeds=[]"}), "$.tuning.seeds: "));
  CHECK(contains(refused({"tuning.seeds=[1, 1]"}), "$.tuning.seeds: has 1 twice"));
  CHECK(contains(refused({"tuning.rungs=3"}), "$.tuning.rungs: unknown key"));
  CHECK(contains(refused({"data.holdout=8"}), "$.data.holdout: must be 0 with --tune"));
  CHECK(contains(refused({"epochs=0"}), "$.epochs: "));

  const std::string advice = ": is for noisysgd-train --tune, which chooses values and trains with them; leave it out or add --tune";
  const Json document = parse_config(three_regimes, "test");
  const auto read = [](const Json& of) { return error_of([&] { read_experiment(of, "test", {}); }); };
  CHECK(contains(read(document), "$.tune" + advice));
  Json in_regime = document;
  in_regime.erase("tune");
  CHECK(contains(read(in_regime), "$.tuning" + advice));
  in_regime.erase("tuning");
  CHECK(contains(read(in_regime), "$.regimes[1].tune" + advice));
}
