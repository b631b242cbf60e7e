// The table of a suite, as the runs of several programs end.
#include <noisysgd/apps/result_table.h>

#include <map>

#include <noisysgd/core/file.h>
#include "tests/apps/tiny_suite.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

Json summary_of(uint64_t seed, double accuracy) {
  return {{"seed", seed},          {"test_accuracy", accuracy}, {"best_test_accuracy", accuracy}, {"train_loss", 1.5},
          {"train_accuracy", 0.5}, {"seconds", 2}};
}

// The table of the tiny suite from the accuracies of each regime's seeds.
WrittenTable table_of(const TemporaryFolder& folder, const std::vector<std::map<uint64_t, double>>& accuracies) {
  std::vector<RegimeResults> results(accuracies.size());
  for (size_t i = 0; i < accuracies.size(); ++i)
    for (const auto& [seed, accuracy] : accuracies[i]) results[i].finished.push_back(summary_of(seed, accuracy));
  return write_result_table(experiment_with({"seeds=[1, 2, 3]"}), [&] { return results; }, folder.path());
}

}  // namespace

TEST_CASE("a run that ends while the table is written is in the table") {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_with({"seeds=[1]"});
  // One more run has ended at the second and at the third reading, and none later.
  size_t readings = 0;
  const auto read = [&] {
    std::vector<RegimeResults> results(experiment.regimes.size());
    for (size_t i = 0; i <= std::min<size_t>(readings, 2); ++i) results[i].finished.push_back(summary_of(1, 0.5));
    ++readings;
    return results;
  };
  const std::string text = write_result_table(experiment, read, folder.path()).text;
  CHECK(readings == 4);
  for (const Regime& regime : experiment.regimes) CHECK(contains(text, regime.name));
  CHECK_FALSE(contains(text, "runs finished"));
  CHECK(read_file(folder / "table.txt") == text);
  CHECK(parse_json(read_file(folder / "table.json"), "table").at("rows").size() == 3);
}

TEST_CASE("regimes are compared with the first over the seeds that both have finished") {
  const TemporaryFolder folder;
  // LB - SB: -0.02, -0.04 and -0.03; mean -0.03, deviation 0.01, half width 4.3027 · 0.01 / √3.
  // free - SB: 0.01 and -0.01; mean 0, half width 12.7062 · 0.014142 / √2.
  const std::string text =
      table_of(folder, {{{1, 0.92}, {2, 0.94}, {3, 0.93}}, {{1, 0.90}, {2, 0.90}, {3, 0.90}}, {{3, 0.94}, {2, 0.93}}})
          .text;
  const char* const expected =
      "\n\nDifference from SB in test accuracy, percentage points, over common seeds\n"
      "regime  difference     95 % interval  seeds  accuracy is\n"
      "------  ----------  ----------------  -----  ---------------------\n"
      "LB           −3.00    −5.48 to −0.52      3  lower\n"
      "free         +0.00  −12.71 to +12.71      2  the seeds cannot tell\n";
  INFO(text);
  CHECK(text.ends_with(expected));
  CHECK(read_file(folder / "table.txt") == text);
  CHECK(contains(read_file(folder / "table.md"), "| LB     |      −3.00 |   −5.48 to −0.52 |     3 | lower "));
  const Json differences = parse_json(read_file(folder / "table.json"), "table").at("differences");
  CHECK(differences.at("from") == "SB");
  CHECK(differences.at("of") == "test_accuracy");
  REQUIRE(differences.at("rows").size() == 2);
  const Json& row = differences.at("rows")[0];
  CHECK(row.at("regime") == "LB");
  CHECK(row.at("seeds") == 3);
  CHECK(row.at("mean") == Approx(-0.03));
  CHECK(row.at("interval_95")[0] == Approx(-0.0548414).epsilon(1e-5));
  CHECK(row.at("interval_95")[1] == Approx(-0.0051586).epsilon(1e-5));
  CHECK(row.at("verdict") == "lower");
}

TEST_CASE("regimes without two seeds in common with the first are not compared") {
  const TemporaryFolder folder;
  using Accuracies = std::vector<std::map<uint64_t, double>>;
  for (const Accuracies& accuracies : {Accuracies{{{1, 0.9}}, {{1, 0.8}}, {{1, 0.7}}},
                                       Accuracies{{{1, 0.9}, {2, 0.9}}, {{2, 0.8}, {3, 0.8}}, {}},
                                       Accuracies{{}, {{1, 0.8}, {2, 0.8}}, {{1, 0.7}, {2, 0.7}}}}) {
    CHECK_FALSE(contains(table_of(folder, accuracies).text, "Difference"));
    CHECK_FALSE(parse_json(read_file(folder / "table.json"), "table").contains("differences"));
  }
  // Nor are results on other images.
  const Experiment other = experiment_with({"seeds=[1, 2]", "regimes[1].data.seed=5"});
  RegimeResults results;
  results.finished = {summary_of(1, 0.5), summary_of(2, 0.6)};
  const std::string text =
      write_result_table(other, [&] { return std::vector<RegimeResults>(3, results); }, folder.path()).text;
  CHECK(contains(text, "\nfree         +0.00  +0.00 to +0.00      2  no difference\n"));
  CHECK_FALSE(contains(text.substr(text.find("Difference")), "\nLB "));
}

TEST_CASE("many differences are in the document only") {
  const TemporaryFolder folder;
  for (const int more : {8, 9}) {
    Json regimes = Json::array({{{"name", "first"}}});
    for (int i = 0; i < more; ++i) regimes.push_back({{"name", std::string(1, static_cast<char>('a' + i))}});
    const Experiment experiment = experiment_with({"seeds=[1, 2]", "regimes=" + regimes.dump()});
    RegimeResults results;
    results.finished = {summary_of(1, 0.5), summary_of(2, 0.6)};
    const std::vector<RegimeResults> all(static_cast<size_t>(more) + 1, results);
    const std::string text = write_result_table(experiment, [&] { return all; }, folder.path()).text;
    CHECK(contains(text, "Difference from first") == (more == 8));
    const Json rows = parse_json(read_file(folder / "table.json"), "table").at("differences").at("rows");
    CHECK(rows.size() == static_cast<size_t>(more));
  }
}
