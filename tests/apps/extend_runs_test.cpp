// --resume --epochs N: a run that is trained on is the run that had N epochs from its beginning.
#include <fmt/format.h>

#include <algorithm>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/file.h>
#include "tests/apps/run_files.h"
#include "tests/apps/workplace.h"
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

const std::vector<std::string> no_more{};

CommandResult train(const Workplace& place, const std::string& folder, const std::vector<std::string>& settings,
                    const std::vector<std::string>& more = no_more) {
  std::vector<std::string> arguments{"--output", folder, "--quiet"};
  for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return place.run(arguments);
}

void check_same(const Workplace& place, const std::string& a, const std::string& b) {
  CHECK(tensors_of(place.path() / a) == tensors_of(place.path() / b));
  CHECK(metrics_of(place.path() / a) == metrics_of(place.path() / b));
  CHECK(read_file(place.path() / a / config_file) == read_file(place.path() / b / config_file));
  Json one = run_summary(place.path() / a).value(), other = run_summary(place.path() / b).value();
  for (const char* key : {"seconds", "peak_memory_bytes", "steps_replayed"}) one.erase(key), other.erase(key);
  CHECK(one == other);
}

}  // namespace

TEST_CASE("a finished run is trained on as if it had had all epochs from its beginning") {
  const Workplace place;
  const auto [settings, longer] = GENERATE(table<std::vector<std::string>, std::vector<std::string>>({
      {{R"(noise={"type": "none"})"}, {R"(noise={"type": "none"})"}},
      {{"noise.stop_fraction=1", "checkpoint.best=true"}, {"noise.stop_fraction=1", "checkpoint.best=true"}},
      {{"noise.stop_fraction=0.5"}, {"noise.stop_fraction=0.25"}},  // the noise has ended
      {{R"(schedule={"type": "step", "milestones": [1, 3], "warmup": {"epochs": 1}})"},
       {R"(schedule={"type": "step", "milestones": [1, 3], "warmup": {"epochs": 1}})", "noise.stop_fraction=0.4"}},
  }));
  auto shorter = settings;
  shorter.push_back("epochs=2");
  auto whole = longer;
  whole.push_back("epochs=4");
  REQUIRE(train(place, "whole", whole).status == 0);
  REQUIRE(train(place, "extended", shorter).status == 0);
  const CommandResult result = train(place, "extended", shorter, {"--resume", "--epochs", "4"});
  CHECK(result.error.empty());
  REQUIRE(result.status == 0);
  check_same(place, "extended", "whole");

  // Once more, from the configuration and from the folder: nothing is left to do.
  const std::string before = read_file(place.path() / "extended/checkpoint.safetensors");
  CHECK(train(place, "extended", shorter, {"--resume", "--epochs", "4"}).status == 0);
  CHECK(Command(NSGD_TRAIN_PROGRAM, {"extended", "--resume", "--epochs", "4", "--quiet"}, place.path()).wait().status == 0);
  CHECK(read_file(place.path() / "extended/checkpoint.safetensors") == before);
}

TEST_CASE("an extension that was interrupted goes on") {
  const Workplace place;
  const std::vector<std::string> shorter{"epochs=2", "noise.stop_fraction=1"}, whole{"epochs=3", "noise.stop_fraction=1"};
  REQUIRE(train(place, "whole", whole).status == 0);
  REQUIRE(train(place, "extended", shorter).status == 0);
  // After config.json was written: the summary is still that of the shorter run.
  write_file_atomically(place.path() / "extended" / config_file, read_file(place.path() / "whole" / config_file));
  Json identity = parse_json(read_file(place.path() / "whole" / config_file), "test");
  copy_checkpoint(place.path() / "extended" / checkpoint_file, place.path() / "extended" / checkpoint_file, identity);
  REQUIRE(train(place, "extended", shorter, {"--resume", "--epochs", "3"}).status == 0);
  check_same(place, "extended", "whole");
}

TEST_CASE("every regime and seed of a suite is trained on") {
  const Workplace place;
  const std::string regimes = R"(regimes=[{"name": "A", "epochs": 1}, {"name": "B", "noise": {"type": "none"}}])";
  const std::vector<std::string> settings{"seeds=[1, 2]", "epochs=2", regimes};
  REQUIRE(train(place, "out", settings).status == 0);
  REQUIRE(train(place, "out", settings, {"--resume", "--epochs", "3"}).status == 0);
  for (const char* run : {"A/seed-1", "A/seed-2", "B/seed-1", "B/seed-2"})
    CHECK(run_summary(place.path() / "out" / run).value().at("epochs") == 3);
}

TEST_CASE("a run that cannot be trained on is left as it is, and one line says why") {
  const Workplace place;
  const std::vector<std::string> cosine{"epochs=2", R"(schedule={"type": "cosine"})"};
  REQUIRE(train(place, "out", cosine).status == 0);
  const auto path = place.path() / "out";
  const std::string config = read_file(path / config_file), checkpoint = read_file(path / checkpoint_file),
                    experiment = read_file(path / "experiment.json");
  const auto refused = [&](const std::vector<std::string>& settings, const std::vector<std::string>& more) {
    const CommandResult result = train(place, "out", settings, more);
    CHECK(result.status == 1);
    CHECK(std::ranges::count(result.error, '\n') == 1);
    CHECK(read_file(path / config_file) == config);
    CHECK(read_file(path / checkpoint_file) == checkpoint);
    CHECK(read_file(path / "experiment.json") == experiment);
    CHECK(is_finished(path));
    return result.error;
  };
  const std::string begin = "noisysgd-train: --epochs ";
  CHECK(refused(cosine, {"--resume", "--epochs", "4"})
            .starts_with(begin + "4: out cannot be trained on: the schedule \"cosine\" of 4 epochs has another learning "
                                 "rate at past steps ("));
  CHECK(refused(cosine, {"--resume", "--epochs", "1"}) ==
        begin + "1: out/experiment.json has 2 epochs; expected at least as many\n");
  CHECK(refused(cosine, {"--epochs", "4"}) ==
        begin + "4: trains a run on, with --resume; --set epochs=4 sets those of a new run\n");
  auto budget = cosine;
  budget.push_back("budget=0.5");
  CHECK(contains(refused(budget, {"--resume", "--epochs", "4"}), "\"budget\" of 0.5; leave it out"));
  auto other = cosine;
  other.push_back("optimizer.momentum=0.5");
  CHECK(contains(refused(other, {"--resume", "--epochs", "4"}), "$.optimizer.momentum: 0.9 there, 0.5 here"));
}

TEST_CASE("training on keeps the result so far, and no checkpoint of another run is trained on") {
  const Workplace place;
  const std::vector<std::string> settings{"epochs=1", "checkpoint.keep_every_epochs=1"};
  REQUIRE(train(place, "run", settings).status == 0);
  const auto tensors = tensors_of(place.path() / "run");
  const Json summary = run_summary(place.path() / "run").value();
  std::vector<std::string> other = settings;
  other.push_back("seed=99");
  REQUIRE(train(place, "other", other).status == 0);

  std::filesystem::copy(place.path() / "run", place.path() / "mixed");
  std::filesystem::copy_file(place.path() / "other/checkpoint.safetensors", place.path() / "mixed/checkpoint.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
  const CommandResult refused = train(place, "mixed", settings, {"--resume", "--epochs", "2"});
  CHECK(refused.status == 1);
  CHECK(contains(refused.error, "mixed/checkpoint.safetensors: is of another run"));
  CHECK(run_summary(place.path() / "mixed") == summary);

  REQUIRE(train(place, "run", settings, {"--resume", "--epochs", "2"}).status == 0);
  const Json kept = parse_json(read_file(kept_summary(place.path() / "run", 1)), "kept");
  CHECK(kept == summary);
  const Checkpoint checkpoint(kept_checkpoint(place.path() / "run", 1));
  CHECK(checkpoint.steps() == summary.at("steps").get<int64_t>());
  CHECK(checkpoint.identity() == Checkpoint(place.path() / "run/checkpoint.safetensors").identity());
}

TEST_CASE("one configuration is trained on again and again") {
  const Workplace place;
  const std::vector<std::string> settings{"epochs=1", "noise.stop_fraction=0.3"};
  REQUIRE(train(place, "whole", {"epochs=7", fmt::format("noise.stop_fraction={}", 0.3 / 7)}).status == 0);
  REQUIRE(train(place, "run", settings).status == 0);
  for (const char* epochs : {"3", "5", "7"}) {
    const CommandResult result = train(place, "run", settings, {"--resume", "--epochs", epochs});
    CHECK(result.error.empty());
    REQUIRE(result.status == 0);
  }
  CHECK(tensors_of(place.path() / "run") == tensors_of(place.path() / "whole"));
  CHECK(metrics_of(place.path() / "run") == metrics_of(place.path() / "whole"));
  CHECK(train(place, "run", settings, {"--resume", "--epochs", "4"}).error ==
        "noisysgd-train: --epochs 4: run/experiment.json has 7 epochs; expected at least as many\n");
  std::vector<std::string> other = settings;
  other.emplace_back("optimizer.momentum=0.5");
  CHECK(contains(train(place, "run", other, {"--resume", "--epochs", "9"}).error,
                 "$.optimizer.momentum: 0.9 there, 0.5 here"));
}
