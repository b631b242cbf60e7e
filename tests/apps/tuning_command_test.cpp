// noisysgd-train --tune: rungs, choice and protocol in one folder, interrupted, resumed and shared.
#include <fmt/format.h>

#include <csignal>
#include <deque>
#include <map>

#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include "tests/apps/workplace.h"
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;
namespace fs = std::filesystem;

namespace {

// Rungs of 4 and 2 points of SB, and of 4 and 2 points of LB. A rate of 1e30 diverges.
constexpr const char* configuration = R"({
  "name": "tuned", "data": {"train_size": 320, "test_size": 64}, "model": {"type": "mlp", "hidden": [8]},
  "batch": {"size": 32}, "epochs": 6, "seeds": [1, 2],
  "tuning": {"holdout": 64, "budget": 0.7, "seeds": [3, 4], "halving": 2},
  "tune": {"optimizer.learning_rate": [0.0001, 0.02, 0.1, 1e30]},
  "regimes": [{"name": "SB", "batch": {"size": 16}}, {"name": "LB", "comment": "no comment"},
              {"name": "fixed", "tune": null}]})";

Json json_in(const fs::path& path) { return parse_json(read_file(path), path.string()); }

// The mean accuracy on held-out images of the runs in the folder of a point; none if one has diverged.
std::optional<double> accuracy_of(const fs::path& point) {
  double mean = 0;
  for (const int seed : {3, 4}) {
    const fs::path run = point / fmt::format("seed-{}", seed);
    if (fs::exists(run / "diverged.json")) return {};
    const Json summary = json_in(run / "summary.json");
    CHECK(summary.at("training_images") == 256);
    CHECK(summary.at("holdout_images") == 64);
    CHECK_FALSE(summary.contains("test_accuracy"));
    mean += summary.at("holdout_accuracy").get<double>() / 2;
  }
  return mean;
}

// Test accuracies of all runs of the protocol, by regime.
std::map<std::string, std::vector<double>> protocol_of(const fs::path& folder) {
  std::map<std::string, std::vector<double>> accuracies;
  const Json table = json_in(folder / "table.json");
  for (const Json& row : table.at("rows"))
    for (const Json& run : row.at("runs")) accuracies[row.at("regime")].push_back(run.at("test_accuracy"));
  return accuracies;
}

}  // namespace

TEST_CASE("tuning chooses on held-out images, then trains the protocol with the chosen values on all images") {
  const Workplace place(configuration);
  const CommandResult result = place.run({"--tune", "--output", "out"});
  INFO(result.output);
  INFO(result.error);
  REQUIRE(result.status == 0);
  const fs::path out = place.path() / "out";

  std::map<std::string, double> chosen;
  const Json tuning = json_in(out / "tuning/tuning.json");
  REQUIRE(tuning.at("regimes").size() == 2);
  for (const Json& regime : tuning.at("regimes")) {
    const std::string name = regime.at("regime");
    // The two best of the first rung are in the second, whose best is chosen; of equal ones, the earlier.
    std::map<std::pair<double, int>, std::string> first, second;
    int place_in_list = 0;
    for (const char* rate : {"0.0001", "0.02", "0.1"})
      first[{accuracy_of(out / "tuning/rung-1" / fmt::format("{},{}", name, rate)).value(), --place_in_list}] = rate;
    CHECK_FALSE(accuracy_of(out / "tuning/rung-1" / (name + ",1e+30")));
    CHECK_FALSE(fs::exists(out / "tuning/rung-2" / fmt::format("{},{}", name, first.begin()->second)));
    first.erase(first.begin());
    for (const auto& [key, rate] : first)
      second[{accuracy_of(out / "tuning/rung-2" / fmt::format("{},{}", name, rate)).value(), key.second}] = rate;
    const std::string best = fmt::format("{},{}/seed-3/config.json", name, second.rbegin()->second);
    CHECK(json_in(out / "tuning/rung-1" / best).at("config").at("epochs") == 2);
    CHECK(json_in(out / "tuning/rung-2" / best).at("config").at("epochs") == 4);
    chosen[name] = std::stod(second.rbegin()->second);
    CHECK(regime.at("best") == Json{{"optimizer.learning_rate", chosen[name]}});
    REQUIRE(regime.at("points").size() == 4);
    CHECK(regime.at("points")[3].at("trials") == Json::parse(R"([{"rung": 1, "diverged": true}])"));
    CHECK(contains(result.output, fmt::format("{}: optimizer.learning_rate={}, ", name, chosen[name])));
  }
  CHECK(contains(read_file(out / "tuning/tuning.md"), "| LB     |         1e+30 |"));
  CHECK(contains(read_file(out / "tuning/tuning.md"), "diverged"));

  CHECK(contains(read_file(out / "table.txt"), "\nregime  learning_rate  test accuracy %"));
  const Json fixed = json_in(out / "fixed/seed-1/config.json").at("config");
  CHECK(fixed.at("optimizer").at("learning_rate") == 0.1);  // the default
  for (const auto& [name, rate] : chosen) {
    const Json config = json_in(out / name / "seed-2/config.json").at("config");
    CHECK(config.at("optimizer").at("learning_rate") == rate);
    CHECK(config.at("data").at("holdout") == 0);
    CHECK(config.at("epochs") == 6);
  }

  // The same protocol, with the values set by hand.
  Json by_hand = parse_json(configuration, "configuration");
  by_hand.erase("tune");
  by_hand.erase("tuning");
  for (Json& regime : by_hand["regimes"]) {
    regime.erase("tune");
    if (chosen.contains(regime["name"])) regime["optimizer"]["learning_rate"] = chosen[regime["name"]];
  }
  const Workplace other(by_hand.dump());
  REQUIRE(other.run({"--output", "out"}).status == 0);
  CHECK(protocol_of(other.path() / "out") == protocol_of(out));

  // Done, it is an ordinary suite, which --tune leaves as it is.
  const std::string before = read_file(out / "table.json"), tuned = read_file(out / "tuning/tuning.json");
  CHECK(Command(NSGD_TRAIN_PROGRAM, {"out", "--resume", "--threads", "1"}, place.path()).wait().status == 0);
  CHECK(place.run({"--tune", "--resume", "--output", "out"}).status == 0);
  CHECK(read_file(out / "table.json") == before);
  CHECK(read_file(out / "tuning/tuning.json") == tuned);
  CHECK(contains(place.run({"--tune", "--output", "out"}).error, "out: holds a run already; --resume continues it"));
}

TEST_CASE("a tuning that is killed or interrupted in any rung continues with the same choice") {
  const Workplace whole(configuration);
  REQUIRE(whole.run({"--tune", "--output", "out", "--quiet"}).status == 0);
  for (const int signal : {SIGKILL, SIGTERM}) {
    const Workplace place(configuration);
    const fs::path out = place.path() / "out";
    // What the folder holds when the signal is sent: a run of the first rung, the first rung, the tuning.
    for (const char* sign : {"tuning/rung-1/SB,0.0001/seed-3/summary.json", "tuning/tuning.json", "experiment.json"}) {
      Command command = place.start({"--tune", "--resume", "--output", "out", "--quiet"});
      while (!fs::exists(out / sign)) ::usleep(200);
      command.kill(signal);
      const CommandResult result = command.wait();
      INFO(result.error);
      CHECK((result.status == 128 + signal || result.status == 0));
    }
    // The folder itself is enough, before and after its suite has begun.
    const CommandResult last =
        Command(NSGD_TRAIN_PROGRAM, {"out", "--tune", "--resume", "--threads", "1"}, place.path()).wait();
    INFO(last.error);
    REQUIRE(last.status == 0);
    CHECK(read_file(out / "tuning/tuning.json") == read_file(whole.path() / "out/tuning/tuning.json"));
    CHECK(read_file(out / "tuning/tuning.md") == read_file(whole.path() / "out/tuning/tuning.md"));
    CHECK(protocol_of(out) == protocol_of(whole.path() / "out"));
  }
}

TEST_CASE("programs share the work of a tuning") {
  const Workplace whole(configuration), place(configuration);
  REQUIRE(whole.run({"--tune", "--output", "out", "--quiet"}).status == 0);
  std::deque<Command> commands;
  for (int i = 0; i < 3; ++i) {
    const fs::path own = place.path() / fmt::format("program-{}", i);
    fs::create_directories(own);
    commands.emplace_back(
        NSGD_TRAIN_PROGRAM,
        std::vector<std::string>{"../small.json", "--tune", "--resume", "--output", "../out", "--threads", "1"}, own);
  }
  for (Command& command : commands) {
    const CommandResult result = command.wait();
    INFO(result.error);
    // Of the protocol, a program that finds every run being made by others reports it and ends.
    if (result.status != 0) CHECK(contains(result.error, "another program is at work in this folder"));
  }
  const fs::path out = place.path() / "out";
  CHECK(read_file(out / "tuning/tuning.json") == read_file(whole.path() / "out/tuning/tuning.json"));
  CHECK(protocol_of(out) == protocol_of(whole.path() / "out"));
}

TEST_CASE("a tuning that cannot be made is one clear error, before anything is trained if possible") {
  const Workplace place(configuration);
  const auto refused = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--output", "out"});
    const CommandResult result = place.run(arguments);
    CHECK(result.status != 0);
    return result.error;
  };
  CHECK(contains(refused({}), "small.json: 1 problem\n  $.tune: is for noisysgd-train --tune"));
  CHECK(contains(refused({"--tune", "--set", "tuning.holdout=320"}), "holdout is 320, expected 0 (none) to 319"));
  CHECK(contains(refused({"--tune", "--set", "data.holdout=3"}), "$.data.holdout: must be 0 with --tune"));
  CHECK(contains(refused({"--tune", "--set", "tune[\"data.holdout\"]=[50, 60]"}), "$.data.holdout: must be 0 with --tune"));
  CHECK(contains(refused({"--tune", "--set", "tune[\"$.optimizer.learning_rate\"]=[0.3]"}),
                 "another path sets the same key"));
  CHECK(contains(refused({"--tune", "--only", "seed=1"}), "--only excludes --tune"));
  CHECK(contains(refused({"--tune", "--grid", "epochs=1,2"}), "--grid excludes --tune"));
  CHECK(
      refused({"--tune", "--set", "tuning.budget=0.2", "--set", "regimes=[{\"name\": \"LB\"}]", "--set",
               "tune={\"optimizer.learning_rate\": [1e29, 1e30]}"}) ==
      "noisysgd-train: small.json: regime \"LB\": tune: every one of the 2 points diverged; expected a point that does "
      "not\n");
  CHECK_FALSE(fs::exists(place.path() / "out/experiment.json"));
  // Data of the protocol that is missing is found before the tuning.
  const CommandResult missing = place.run({"--tune", "--output", "other", "--set", "data={\"type\": \"mnist\"}"});
  CHECK(missing.status == 1);
  CHECK_FALSE(fs::exists(place.path() / "other/tuning"));
  const std::string plan = place.run({"--tune", "--dry-run"}).output;
  CHECK(plan.starts_with("tuning: 2 rungs, the first with 8 points at budget 0.35\n"));
  CHECK(contains(plan,
                 "\n   2     0.7  LB           2       4\nSB: optimizer.learning_rate: 0.0001, 0.02, 0.1, 1e+30\n"));
}

TEST_CASE("a network that a point cannot have is found before the first rung, also of a regime that begins later") {
  const Workplace place(configuration);
  const std::vector<std::string> changes{"--tune", "--set", "regimes[LB].tune={\"optimizer.learning_rate\": null, "
                                                            "\"model.hidden[0]\": [8, 100000000]}", "--output", "out"};
  const CommandResult result = place.run(changes);
  CHECK(result.status == 1);
  CHECK_FALSE(fs::exists(place.path() / "out/tuning"));
}

TEST_CASE("a tuning is continued with its own configuration only, which stays as it is") {
  const Workplace place(configuration);
  const std::vector<std::string> command{"--tune", "--output", "out", "--set", "epochs=1", "--set", "seeds=[1]",
                                         "--set", "tuning.seeds=[3]"};
  REQUIRE(place.run(command).status == 0);
  const std::string kept = read_file(place.path() / "out/tuning/configuration.json");
  auto changed = command;
  changed.insert(changed.end(), {"--resume", "--set", "batch.size=25"});
  const CommandResult refused = place.run(changed);
  CHECK(refused.status == 1);
  CHECK(contains(refused.error, "out/tuning/configuration.json: is of another configuration ($.batch.size: 32 there, "
                                "25 here)"));
  CHECK(read_file(place.path() / "out/tuning/configuration.json") == kept);

  REQUIRE(place.run({"--output", "plain", "--set", "epochs=1", "--set", "seeds=[1]", "--set", "tune=null", "--set",
                     "tuning=null"}).status != 0);  // null is a value: the keys are still there
  fs::create_directories(place.path() / "plain");
  fs::copy_file(place.path() / "out/experiment.json", place.path() / "plain/experiment.json");
  changed = command;
  changed[2] = "plain";
  changed.push_back("--resume");
  CHECK(contains(place.run(changed).error, "plain: holds runs that no tuning has made"));
  CHECK_FALSE(fs::exists(place.path() / "plain/tuning"));
}

TEST_CASE("a folder that holds other things than a tuning is refused") {
  const Workplace place(configuration);
  fs::create_directories(place.path() / "out/tuning");
  write_file_atomically(place.path() / "out/tuning/notes.txt", "precious");
  CHECK(contains(place.run({"--tune", "--output", "out"}).error, "out: holds tuning but no experiment.json"));
  CHECK(fs::directory_iterator(place.path() / "out/tuning")->path().filename() == "notes.txt");
  CHECK(contains(place.run({"--tune", "--set", "regimes[LB].name=tuning"}).error,
                 "\"tuning\" cannot name a folder: it is the name of the folder of a tuning"));
}

TEST_CASE("results that no tuning has written are not replaced") {
  const Workplace place(configuration);
  const auto refused = [&](const char* file, const char* text) {
    fs::remove_all(place.path() / "out");
    fs::create_directories(place.path() / "out/tuning");
    write_file_atomically(place.path() / "out/tuning" / file, text);
    const CommandResult result = place.run({"--tune", "--output", "out"});
    CHECK(result.status == 1);
    CHECK(result.error ==
          fmt::format("noisysgd-train: out/tuning/{}: is there, and this tuning did not write it; move it "
                      "away, or use another --output\n",
                      file));
    CHECK(read_file(place.path() / "out/tuning" / file) == text);
  };
  refused("tuning.md", "my own notes\n");
  refused("tuning.json", "[1, 2]\n");
  fs::remove_all(place.path() / "out");
  const std::vector<std::string> short_ones{"--tune", "--resume", "--output", "out", "--quiet", "--set", "epochs=1"};
  REQUIRE(place.run(short_ones).status == 0);
  write_file_atomically(place.path() / "out/tuning/tuning.md", "my own notes\n");
  CHECK(contains(place.run(short_ones).error, "out/tuning/tuning.md: is there, and this tuning did not write it"));
}

TEST_CASE("trials that draw no noise are told before the tuning and in its table") {
  const Workplace place(R"({"name": "short", "data": {"train_size": 96, "test_size": 16},
    "model": {"type": "mlp", "hidden": [4]}, "batch": {"size": 32}, "epochs": 6,
    "tuning": {"holdout": 32, "budget": 0.5, "halving": 2},
    "noise": {"type": "diagonal_fisher", "small_batch": 4},
    "tune": {"noise.scale": [1, 2], "batch.size": [16, 64]}})");
  // Rungs of 1 and 2 epochs: a quarter of 1 step of 64 images is none, of 2 steps one.
  const std::string note =
      "short at budget 0.25: noise.stop_fraction: 0.25 of 1 step rounds to 0, so no noise is drawn, in 2 of 4 points\n";
  const std::vector<std::string> quarter{"--set", "epochs=4", "--tune"};
  const auto call = [&](std::initializer_list<const char*> more) {
    std::vector<std::string> arguments = quarter;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return place.run(arguments);
  };
  const CommandResult dry = call({"--dry-run"});
  INFO(dry.output << dry.error);
  CHECK(contains(dry.output, "\n" + note));
  CHECK_FALSE(contains(dry.output, "short at budget 0.5: noise.stop_fraction: 0.25 of 2 steps rounds"));
  const CommandResult result = call({"--output", "out"});
  CHECK(result.status == 0);
  CHECK(contains(result.output, "\n" + note));
  CHECK(contains(read_file(place.path() / "out/tuning/tuning.md"), "\n* " + note));
}

TEST_CASE("a trial whose noise would be zero in every step is refused before the tuning, with its budget") {
  // In the first rung the noise ends before the batches grow; in the last it does not.
  const Workplace place(R"({"data": {"train_size": 96, "test_size": 16}, "model": {"type": "mlp", "hidden": [4]},
    "batch": {"size": 32, "change": [{"epochs": 2, "size": 4}]}, "epochs": 12,
    "tuning": {"holdout": 32, "budget": 1, "halving": 3}, "noise": {"type": "diagonal_fisher", "small_batch": 4},
    "tune": {"noise.scale": [1, 2, 3, 4]}})");
  const CommandResult result = place.run({"--tune", "--output", "out"});
  CHECK(result.status == 1);
  CHECK(contains(result.error, "small.json: tuning at budget 0.333: regime \"1\": noise.small_batch: must be below"));
  CHECK_FALSE(fs::exists(place.path() / "out"));
}
