// Curves of groups of runs.
#include <noisysgd/apps/report/curves.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/catch.h"

using namespace noisysgd;

namespace {

// A run with an evaluation after every two steps of a whole epoch, and these losses.
LoggedRun run_with(uint64_t seed, const std::vector<double>& losses) {
  LoggedRun run{.folder = "", .regime = "R", .seed = seed};
  for (size_t i = 0; i < losses.size(); ++i) {
    run.train.step.push_back(static_cast<double>(i + 1));
    run.train.epoch.push_back(static_cast<double>(i / 2 + 1));
    run.train.values[{"", "loss"}].push_back(losses[i]);
    if (i % 2 == 0) continue;
    run.evaluated.step.push_back(static_cast<double>(i + 1));
    run.evaluated.epoch.push_back(static_cast<double>(i / 2 + 1));
    run.evaluated.values[{"", "accuracy"}].push_back(0.5);
  }
  return run;
}

const std::vector<Series>& training_loss(const std::vector<CurveFigures>& curves) {
  REQUIRE_FALSE(curves.empty());
  REQUIRE_FALSE(curves[0].figures.empty());
  REQUIRE(curves[0].figures[0].panels[0].title == "training loss");
  return curves[0].figures[0].panels[0].series;
}

}  // namespace

TEST_CASE("seeds are drawn as mean and band while all go on, and one by one after that") {
  const std::vector<RunGroup> groups{{"R", "", {run_with(1, {1, 2, 3, 4}), run_with(2, {3, 4})}}};
  const auto curves = learning_curves(groups, CurveAxis::steps);
  const std::vector<Series>& series = training_loss(curves);
  REQUIRE(series.size() == 2);
  CHECK(series[0].x == std::vector<double>{1, 2});
  CHECK(series[0].y == std::vector<double>{2, 3});
  CHECK(series[0].low[0] == Approx(2 - std::sqrt(2)));
  CHECK(series[0].high[1] == Approx(3 + std::sqrt(2)));
  CHECK(series[1].x == std::vector<double>{2, 3, 4});
  CHECK(series[1].y == std::vector<double>{2, 3, 4});
  for (const Series& one : series) {
    CHECK(one.name == "R");
    CHECK(one.colour == 0);
  }
}

TEST_CASE("runs that are logged at other steps are drawn one by one") {
  LoggedRun other = run_with(2, {5, 6});
  other.train.step = {10, 20};
  const std::vector<RunGroup> groups{{"R", "", {run_with(1, {1, 2}), other}}};
  const auto curves = learning_curves(groups, CurveAxis::steps);
  const std::vector<Series>& series = training_loss(curves);
  REQUIRE(series.size() == 2);
  CHECK(series[0].low.empty());
  CHECK(series[1].x == std::vector<double>{10, 20});
}

TEST_CASE("values that are not finite leave gaps, and quantities without values no figure") {
  LoggedRun run = run_with(1, {1, NAN, 3, INFINITY});
  run.train.values[{"", "noise_norm"}] = std::vector<double>(4, NAN);
  const auto curves = learning_curves({{"R", "", {run}}}, CurveAxis::steps);
  CHECK(std::isnan(training_loss(curves)[0].y[1]));
  for (const Figure& figure : curves[0].figures) CHECK(figure.panels[0].title != "norm of the noise");
  CHECK(curves.size() == 1);  // nothing is logged per layer
}

TEST_CASE("steps become epochs by the evaluations, also in an epoch that has not ended") {
  LoggedRun run = run_with(1, {1, 2, 3, 4, 5});
  CHECK(run.train_epochs() == std::vector<double>{0.5, 1, 1.5, 2, 2.5});
  CHECK(common_axis({{"R", "", {run}}}) == CurveAxis::epochs);
  const LoggedRun first_epoch = run_with(2, {1});
  CHECK(first_epoch.train_epochs().empty());
  CHECK(common_axis({{"R", "", {run, first_epoch}}}) == CurveAxis::steps);
}

TEST_CASE("a long log is averaged to few points") {
  std::vector<double> losses;
  for (int i = 0; i < 1000; ++i) losses.push_back(i % 2);
  losses[4] = NAN;
  const auto curves = learning_curves({{"R", "", {run_with(1, losses)}}}, CurveAxis::steps, 100);
  const Series& series = training_loss(curves)[0];
  REQUIRE(series.x.size() == 100);
  CHECK(series.x.front() == 10);
  CHECK(series.x.back() == 1000);
  CHECK(series.y[0] == Approx(5.0 / 9));
  CHECK(series.y[1] == 0.5);
}

TEST_CASE("the ratio of every layer has a figure of its own") {
  LoggedRun run = run_with(1, {1, 2});
  run.train.layers = {"conv2", "conv1"};
  run.train.values[{"conv1", "variance_ratio"}] = {1, 2};
  run.train.values[{"conv2", "variance_ratio"}] = {0.5, 100};
  const auto curves = learning_curves({{"R", "", {run}}}, CurveAxis::epochs);
  REQUIRE(curves.size() == 2);
  REQUIRE(curves[1].figures.size() == 2);
  CHECK(curves[1].figures[0].panels[0].title == "conv2");
  CHECK(curves[1].figures[0].panels[0].y.logarithmic);
  CHECK_FALSE(curves[1].figures[1].panels[0].y.logarithmic);
}
