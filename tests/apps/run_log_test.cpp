// The lines of metrics.jsonl and TensorBoard's events, by whole runs.
#include <cmath>

#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/tensorboard.h>
#include "tests/apps/run_files.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/error_of.h"
#include "tests/random_tensor.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test::small_runs;
using noisysgd::test::metrics_of, noisysgd::test::tensors_of, noisysgd::test::TemporaryFolder;

namespace {

std::string events_of(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (is_events_name(entry.path().filename().string())) return read_file(entry.path());
  return {};
}

}  // namespace

TEST_CASE("the log of every layer holds the trace and the norm of its diagonal") {
  const TemporaryFolder folder;
  const Regime regime =
      regime_with({"epochs=1", "logging.per_layer=true", R"(noise={"type": "full_fisher", "small_batch": 16})"});
  REQUIRE(run(regime, folder.path()) == RunOutcome::finished);
  const Json line = metrics_of(folder.path()).at(0);
  for (const std::string layer : {"conv1", "bn1", "linear1"}) {
    const double trace = line.at("layers").at(layer).at("fisher_trace");
    const double norm = line.at("layers").at(layer).at("fisher_diagonal_norm");
    CHECK(norm > 0);
    CHECK(norm < trace);
    CHECK_FALSE(line.at("layers").at(layer).contains("effective_rank"));
  }
}

TEST_CASE("groups of samples add r_l and the effective rank to the log, however the batch is cut, and change no step") {
  const TemporaryFolder folder;
  const std::vector<std::string> common{"epochs=1",
                                        "batch.ghost_size=16",
                                        "model.layers[4].probability=0",
                                        "logging.every_steps=2",
                                        "logging.per_layer=true",
                                        R"(noise={"type": "block_fisher", "small_batch": 16})"};
  const auto with = [&](const std::vector<std::string>& more, const std::string& name) {
    std::vector<std::string> assignments = common;
    assignments.insert(assignments.end(), more.begin(), more.end());
    REQUIRE(run(regime_with(assignments), folder.path() / name) == RunOutcome::finished);
    return metrics_of(folder.path() / name).at(0).at("layers");
  };
  const Json whole = with({"logging.groups=2"}, "whole"), cut = with({"logging.groups=2", "batch.micro=16"}, "cut");
  with({}, "without");
  for (const std::string layer : {"conv1", "bn1", "linear1"}) {
    INFO(layer);
    const double ratio = whole.at(layer).at("variance_ratio"), rank = whole.at(layer).at("effective_rank");
    CHECK(ratio > 0);
    CHECK(rank >= 1);
    CHECK(cut.at(layer).at("variance_ratio").get<double>() == Approx(ratio).epsilon(1e-3));
    CHECK(cut.at(layer).at("effective_rank").get<double>() == Approx(rank).epsilon(1e-3));
  }
  const auto measured = tensors_of(folder.path() / "whole"), plain = tensors_of(folder.path() / "without");
  for (const std::string name : {"conv1.weight", "bn1.weight", "linear1.weight"}) {
    INFO(name);
    CHECK(test::relative_error(measured.at(name), test::to_double(plain.at(name))) <= 1e-4);
  }

  const auto unread = [] { regime_with({"logging.groups=4"}); };
  CHECK(test::error_of(unread).find("logging.groups: needs \"per_layer\": true") != std::string::npos);
}

TEST_CASE("the noise scale is a field of every line, however the batch is cut, and changes no step") {
  const TemporaryFolder folder;
  const auto with = [&](std::vector<std::string> assignments, const std::string& name) {
    assignments.insert(assignments.end(), {"epochs=1", "logging.every_steps=1", "model.layers[4].probability=0"});
    REQUIRE(run(regime_with(assignments), folder.path() / name) == RunOutcome::finished);
    return metrics_of(folder.path() / name).at(0);
  };
  const Json whole = with({"logging.noise_scale=true"}, "whole"), without = with({}, "without");
  const std::vector<Json> cut{
      with({"logging.noise_scale=true", "batch.micro=32"}, "micro"),
      with({"logging.noise_scale=true", R"(fisher.batch_norm="ghost_variance")"}, "ghosts"),
      with({"logging.noise_scale=true", "logging.per_layer=true", "logging.groups=3"}, "groups")};
  const double variance = whole.at("gradient_variance"), norm = whole.at("gradient_norm");
  CHECK(variance > 0);
  CHECK(whole.at("gradient_noise_scale").get<double>() == Approx(variance / (norm * norm)).epsilon(1e-5));
  for (const char* key : {"gradient_variance", "gradient_noise_scale"}) {
    for (const Json& line : cut) CHECK(line.at(key).get<double>() == Approx(whole.at(key).get<double>()).epsilon(1e-4));
    CHECK_FALSE(without.contains(key));
    const std::string tag = std::string("train/") + key;
    CHECK(events_of(folder.path() / "whole").find(tag) != std::string::npos);
    CHECK(events_of(folder.path() / "without").find(tag) == std::string::npos);
  }
  CHECK(tensors_of(folder.path() / "whole") == tensors_of(folder.path() / "without"));
}

TEST_CASE("the log has the noise's norm unless the gradient already contains the noise") {
  const auto noise_norm = [](const std::vector<std::string>& more) {
    const TemporaryFolder folder;
    std::vector<std::string> assignments{"epochs=1",
                                         R"(noise={"type": "full_fisher", "small_batch": 16, "stop_fraction": 1})"};
    assignments.insert(assignments.end(), more.begin(), more.end());
    REQUIRE(run(regime_with(assignments), folder.path()) == RunOutcome::finished);
    return metrics_of(folder.path()).at(0).at("noise_norm");
  };
  CHECK(noise_norm({}).is_null());
  CHECK(noise_norm({"optimizer.clip_norm=1"}) > 0);
}
