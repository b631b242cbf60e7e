// The table of a suite, as the runs of several programs end.
#include <noisysgd/apps/result_table.h>

#include <noisysgd/core/file.h>
#include "tests/apps/tiny_suite.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

TEST_CASE("a run that ends while the table is written is in the table") {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_with({"seeds=[1]"});
  const Json summary{{"test_accuracy", 0.5},
                     {"best_test_accuracy", 0.5},
                     {"train_loss", 1.5},
                     {"train_accuracy", 0.5},
                     {"seconds", 2}};
  // One more run has ended at the second and at the third reading, and none later.
  size_t readings = 0;
  const auto read = [&] {
    std::vector<RegimeResults> results(experiment.regimes.size());
    for (size_t i = 0; i <= std::min<size_t>(readings, 2); ++i) results[i].finished.push_back(summary);
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
