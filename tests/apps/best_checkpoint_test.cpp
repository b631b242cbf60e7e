// checkpoint.best: the weights of the epoch with the best evaluation.
#include <algorithm>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/apps/eval/evaluation.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/file.h>
#include "tests/apps/run_files.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

std::map<std::string, std::vector<float>> tensors_in(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  std::map<std::string, std::vector<float>> tensors;
  for (const auto& entry : file.entries()) tensors[entry.name] = file.values<float>(entry.name);
  return tensors;
}

}  // namespace

TEST_CASE("the best checkpoint holds the epoch with the best evaluation, also after resumed runs") {
  const TemporaryFolder folder;
  const Regime regime = small_runs::regime_with(
      {"epochs=6", "optimizer.learning_rate=0.2", "checkpoint.best=true", "checkpoint.keep_every_epochs=1"});
  REQUIRE(small_runs::run(regime, folder.path()) == RunOutcome::finished);
  const auto best = folder / best_checkpoint_file;
  const Json summary = run_summary(folder.path()).value();
  const int64_t epoch = summary.at("best_epoch");
  REQUIRE(summary.at("best_test_accuracy").get<double>() > summary.at("test_accuracy").get<double>());  // not the last
  const auto of_best = tensors_in(best);
  CHECK(of_best == tensors_in(kept_checkpoint(folder.path(), epoch)));
  CHECK(Checkpoint(best).state().at("best_epoch") == epoch);
  const Evaluation evaluation = evaluate_checkpoint({best, "", {}, {}, "cpu", 2}, {});
  CHECK(static_cast<double>(evaluation.scores.correct()) / 50 == summary.at("best_test_accuracy").get<double>());

  for (int64_t stopped = 1; stopped < 6; ++stopped) {
    std::filesystem::copy_file(kept_checkpoint(folder.path(), stopped), folder / checkpoint_file,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove(folder / summary_file);
    if (stopped < epoch) write_file_atomically(best, "of an epoch that the run goes back behind");
    REQUIRE(small_runs::run(regime, folder.path()) == RunOutcome::finished);
    INFO(stopped);
    CHECK(tensors_in(best) == of_best);
    CHECK(run_summary(folder.path()).value().at("best_epoch") == epoch);
  }
}

TEST_CASE("the best epoch is that of the held-out images, and is kept only if asked") {
  const TemporaryFolder folder;
  const std::vector<std::string> settings{"epochs=3", "data.holdout=100"};
  REQUIRE(small_runs::run(small_runs::regime_with(settings), folder / "plain") == RunOutcome::finished);
  CHECK_FALSE(std::filesystem::exists(folder / "plain" / best_checkpoint_file));
  auto kept = settings;
  kept.push_back("checkpoint.best=true");
  kept.push_back("checkpoint.every_epochs=3");
  REQUIRE(small_runs::run(small_runs::regime_with(kept), folder / "best") == RunOutcome::finished);
  const Json summary = run_summary(folder / "best").value();
  const Evaluation evaluation =
      evaluate_checkpoint({folder / "best" / best_checkpoint_file, "", {}, {}, "cpu", 2}, {});
  CHECK(evaluation.set == "holdout");
  CHECK(static_cast<double>(evaluation.scores.correct()) / 100 == summary.at("best_holdout_accuracy").get<double>());
  CHECK(tensors_of(folder / "best") == tensors_of(folder / "plain"));
}
