// Intervals, and differences over seeds.
#include <noisysgd/apps/report/results.h>

#include <array>
#include <utility>
#include <vector>

#include "tests/apps/report/run_folders.h"
#include "tests/catch.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

RunGroup group_of(const std::vector<std::pair<uint64_t, double>>& accuracies) {
  RunGroup group;
  for (const auto& [seed, accuracy] : accuracies) {
    LoggedRun run{.folder = "", .regime = "R", .seed = seed};
    run.summary = summary_with(accuracy);
    group.runs.push_back(run);
  }
  return group;
}

}  // namespace

TEST_CASE("Student's quantiles are those of the published tables") {
  // 0.975 and 0.95, NIST/SEMATECH e-Handbook, table 1.3.6.7.2
  for (const auto& [degrees, quantile] : std::vector<std::pair<size_t, double>>{{1, 12.706},
                                                                                {2, 4.303},
                                                                                {3, 3.182},
                                                                                {4, 2.776},
                                                                                {5, 2.571},
                                                                                {9, 2.262},
                                                                                {10, 2.228},
                                                                                {29, 2.045},
                                                                                {100, 1.984}})
    CHECK(student_quantile(0.975, degrees) == Approx(quantile).margin(5.1e-4));
  CHECK(student_quantile(0.95, 1) == Approx(6.314).margin(5.1e-4));
  CHECK(student_quantile(0.95, 20) == Approx(1.725).margin(5.1e-4));
}

TEST_CASE("differences are paired by seed, with a 95 % interval") {
  // 0.02, 0.04 and 0.03: mean 0.03, deviation 0.01, half width 4.3027 · 0.01 / √3
  const RunGroup a = group_of({{1, 0.92}, {2, 0.94}, {3, 0.93}, {5, 0.1}}),
                 b = group_of({{3, 0.90}, {2, 0.90}, {1, 0.90}, {4, 0.99}});
  const auto paired = [](const RunGroup& first, const RunGroup& second, const char* field) {
    return paired_difference(results_of(first, field), results_of(second, field));
  };
  const PairedDifference pair = paired(a, b, "test_accuracy");
  CHECK(pair.difference.count == 3);
  CHECK(pair.difference.mean == Approx(0.03));
  REQUIRE(pair.half_width);
  CHECK(*pair.half_width == Approx(0.0248414).epsilon(1e-5));
  CHECK(pair.verdict() == "higher");
  CHECK(pair.mean_text(100, 2) == "+3.00");
  CHECK(pair.interval_text(100, 2) == "+0.52 to +5.48");
  CHECK(paired(b, a, "test_accuracy").interval_text(1, 4) == "−0.0548 to −0.0052");
  CHECK(paired(a, group_of({{1, 0.94}}), "test_accuracy").interval_text(1, 4) == "–");
  CHECK(paired(b, a, "test_accuracy").verdict() == "lower");
  // equal on average
  CHECK(paired(a, group_of({{1, 0.94}, {2, 0.92}}), "test_accuracy").verdict() == "the seeds cannot tell");
  CHECK(paired(a, group_of({{1, 0.94}}), "test_accuracy").verdict() == "needs two common seeds");
  CHECK(paired(a, b, "no_such_field").difference.count == 0);
}

TEST_CASE("runs without a result are left out of the mean") {
  RunGroup group = group_of({{1, 0.5}, {2, 0.7}});
  group.runs.push_back({.folder = "", .regime = "R", .seed = 3});
  (*group.runs[1].summary)["test_loss"] = nullptr;
  CHECK(result_of(group, "test_accuracy").mean == Approx(0.6));
  CHECK(result_of(group, "test_accuracy").count == 2);
  CHECK(result_of(group, "test_loss").count == 1);
}
