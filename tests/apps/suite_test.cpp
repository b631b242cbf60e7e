// Suites: budgets, selections, tables with published numbers, finished runs.
#include <noisysgd/apps/suite.h>

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <optional>

#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/file.h>
#include "tests/apps/tiny_suite.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/hostile_disk.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

RunOutcome train_selected(const Experiment& experiment, const std::filesystem::path& folder,
                          const std::vector<std::string>& only) {
  Context context({}, 1);
  const Extensions extensions;
  return train_all(context, {experiment, extensions, folder, Progress::Mode::quiet, Selection(only, experiment)});
}

}  // namespace

TEST_CASE("a budget scales epochs, warm-up, milestones and batch changes by one factor") {
  const char* const document = R"({"epochs": 200, "budget": 0.1,
    "batch": {"size": 4096, "change": [{"epochs": 50, "size": 128, "learning_rate": 0.1}, {"epochs": 4, "size": 256}]},
    "schedule": {"type": "step", "milestones": [100, 150], "warmup": {"epochs": 10}}})";
  const Regime regime = experiment_with({}, document).regimes.at(0);
  CHECK(regime.epochs == 20);
  const auto factor_at = [](const Regime& at, double epoch) {
    return at.schedule.factor(static_cast<int64_t>(100 * epoch), 100, static_cast<double>(at.epochs));
  };
  for (const auto& [epoch, factor] : std::map<double, double>{{0.49, 0.5}, {1, 1}, {9.99, 1}, {10, 0.1}, {15, 0.01}})
    CHECK(factor_at(regime, epoch) == Approx(factor));
  CHECK(regime.effective["schedule"]["warmup"]["epochs"] == 1);
  REQUIRE(regime.batch.changes.size() == 1);  // the second has no epoch after the cut
  CHECK(regime.batch.changes[0].epochs == 5);
  // The run folder keeps the configuration of the run itself, without a budget.
  const Regime again = read_experiment(regime.effective, "effective", {}).regimes.at(0);
  CHECK(again.effective == regime.effective);
  CHECK(again.epochs == 20);
  CHECK(factor_at(again, 14.99) == Approx(0.1));
  CHECK(factor_at(again, 15) == Approx(0.01));

  const Regime shortest = experiment_with({"budget=0.0001"}, document).regimes.at(0);
  CHECK(shortest.epochs == 1);
  CHECK(shortest.effective["schedule"]["milestones"] == Json{0.5, 0.75});
  CHECK(experiment_with({"budget=1"}, document).regimes.at(0).epochs == 200);
  CHECK_THROWS_AS(experiment_with({"budget=0"}, document), ConfigError);
  CHECK_THROWS_AS(experiment_with({"budget=2"}, document), ConfigError);
}

TEST_CASE("batch changes: rates of their own or by the scaling rule, and room for the batch size after them") {
  const Regime regime = experiment_with({}, R"({"epochs": 10, "optimizer": {"learning_rate": 0.1,
    "scaling": {"type": "linear", "base_batch": 64}}, "batch": {"size": 512,
    "change": [{"epochs": 1, "size": 32, "learning_rate": 0.3}, {"epochs": 2, "size": 128}]}})")
                            .regimes.at(0);
  const BatchSchedule schedule = regime.batch_schedule(1024);
  CHECK(schedule.total_steps() == 32 + 2 * 8 + 7 * 2);
  CHECK(schedule.position(0).phase->learning_rate == 0.3);
  CHECK(schedule.position(32).phase->learning_rate == Approx(0.2));
  CHECK(schedule.position(48).phase->learning_rate == Approx(0.8));
  CHECK(error_of([] {
          experiment_with({}, R"({"epochs": 2, "batch": {"change": [{"epochs": 2, "size": 8}]}})");
        }).find("$.batch.change: covers 2 epochs of a run of 2") != std::string::npos);
}

TEST_CASE("a selection names regimes and seeds that exist") {
  const Experiment experiment = experiment_with({});
  const Selection one({"regime=LB,seed=2"}, experiment), several({"regime=SB", "regime=LB"}, experiment);
  CHECK(one.includes(experiment.regimes[1], 2));
  CHECK_FALSE(one.includes(experiment.regimes[1], 1));
  CHECK_FALSE(one.includes(experiment.regimes[0], 2));
  CHECK(several.includes(experiment.regimes[0], 1));
  CHECK(several.includes(experiment.regimes[1], 2));
  CHECK_FALSE(several.includes(experiment.regimes[2], 1));
  CHECK(Selection().includes(experiment.regimes[2], 9));
  CHECK(error_of([&] { Selection({"regime=XL"}, experiment); }) ==
        "--only regime=XL: tiny has no such regime, only SB, LB, free");
  CHECK(error_of([&] { Selection({"seed=3"}, experiment); }) == "--only seed=3: tiny has no such seed, only 1, 2");
  CHECK(error_of([&] { Selection({"seed=1x"}, experiment); }).find("no such seed") != std::string::npos);
  CHECK(error_of([&] { Selection({"LB"}, experiment); }) ==
        "--only LB: expected regime=NAME or seed=NUMBER, got \"LB\"");
  CHECK(error_of([&] { Selection({"regime=LB,"}, experiment); }) ==
        "--only regime=LB,: expected regime=NAME or seed=NUMBER, got \"\"");
}

TEST_CASE("a suite runs what is selected and not finished, and sets the paper's numbers beside its own") {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_with({"budget=0.5"});
  REQUIRE(train_selected(experiment, folder.path(), {"regime=SB,seed=2"}) == RunOutcome::finished);
  const auto finished = folder.path() / "SB" / "seed-2" / "summary.json";
  REQUIRE(std::filesystem::exists(finished));
  CHECK_FALSE(std::filesystem::exists(folder.path() / "LB"));
  CHECK_FALSE(std::filesystem::exists(folder.path() / "SB" / "seed-1"));
  std::string table = read_file(folder.path() / "table.txt");
  CHECK(contains(table, "a trial at budget 0.5: 1 epoch; 1 of 6 runs finished"));
  CHECK(contains(table, "93.25"));
  CHECK_FALSE(contains(table, "91.80"));

  const std::string before = read_file(finished);
  REQUIRE(train_selected(experiment, folder.path(), {}) == RunOutcome::finished);
  CHECK(read_file(finished) == before);  // its seconds would differ
  table = read_file(folder.path() / "table.txt");
  CHECK_FALSE(contains(table, "runs finished"));
  CHECK(contains(table, "paper %"));
  CHECK(contains(table, "91.80"));
  const Json rows = parse_json(read_file(folder.path() / "table.json"), "table").at("rows");
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].at("published_test_accuracy") == Approx(0.9325));
  const Json& runs = rows[0].at("runs");
  REQUIRE(runs.size() == 2);
  const double first = runs[0].at("train_loss"), second = runs[1].at("train_loss");
  REQUIRE(first != second);
  CHECK(rows[0].at("train_loss").at("mean") == Approx((first + second) / 2));
  CHECK(rows[0].at("train_loss").at("standard_deviation") == Approx(std::abs(first - second) / std::sqrt(2.0)));
  CHECK_FALSE(rows[2].contains("published_test_accuracy"));

  CHECK(error_of([&] { train_selected(experiment_with({}), folder.path(), {}); }).find("another configuration") !=
        std::string::npos);
}

TEST_CASE("problems of any run are found before the first begins, and nothing is written") {
  const TemporaryFolder folder;
  const std::filesystem::path out = folder.path() / "out";
  const auto refused = [&](const std::vector<std::string>& changes) {
    return error_of([&] { train_selected(experiment_with(changes), out, {}); });
  };
  CHECK(refused({"regimes[2].init=[{\"parameters\": [\"conv*\"]}]"}).starts_with("test: regime \"free\": init[0]"));
  CHECK(refused({"regimes[2].batch={\"size\": 97, \"drop_last\": true}"}) ==
        "test: regime \"free\": batch.drop_last: 96 training images make no batch of 97");
  CHECK(refused({"regimes[1].model={\"type\": \"conv2d\"}"}) ==
        "test: regime \"LB\": 2 problems\n  $.model.out_channels: missing: an integer is required\n"
        "  $.model.kernel: missing: an integer is required");
  CHECK_FALSE(std::filesystem::exists(out));

  // Runs of another configuration stop a suite, selected or not, because its table would hold them.
  const Experiment first = experiment_with({"budget=0.5"}), other = experiment_with({"budget=0.5", "batch.size=24"});
  REQUIRE(train_selected(first, out, {"regime=LB"}) == RunOutcome::finished);
  const std::string document = read_file(out / "experiment.json");
  CHECK(parse_json(document, "document") == first.document);
  CHECK(error_of([&] { train_selected(other, out, {"regime=free"}); }).find("$.batch.size: 32 there, 24 here") !=
        std::string::npos);
  CHECK(read_file(out / "experiment.json") == document);
  CHECK_FALSE(std::filesystem::exists(out / "free"));
}

TEST_CASE("a suite may gain runs in its folder, and none that the folder holds may be left out") {
  const TemporaryFolder folder;
  const auto suite_of = [&](const char* seeds) { return experiment_with({"budget=0.5", seeds}); };
  REQUIRE(train_selected(suite_of("seeds=[1, 2]"), folder.path(), {"regime=LB,seed=1"}) == RunOutcome::finished);
  const std::string document = read_file(folder.path() / "experiment.json");
  const auto refused = [&](const Experiment& experiment) {
    return error_of([&] { train_selected(experiment, folder.path(), {}); });
  };
  CHECK(refused(suite_of("seeds=[2]")).find("LB/seed-1: experiment.json and the table would no longer include") !=
        std::string::npos);
  CHECK(refused(experiment_with({"budget=0.5", R"(regimes=[{"name": "free"}])"})).find("LB/seed-1: ") !=
        std::string::npos);
  CHECK(read_file(folder.path() / "experiment.json") == document);
  // Seed 2 has no run yet, so nothing is lost without it.
  CHECK(train_selected(suite_of("seeds=[3, 1]"), folder.path(), {"regime=LB"}) == RunOutcome::finished);
  CHECK(is_finished(folder.path() / "LB/seed-3"));
}

TEST_CASE("a suite that began as one run gains seeds and regimes, and the run stays where it is") {
  const TemporaryFolder folder;
  const auto suite_of = [&](const char* seeds, const char* regimes) {
    return experiment_with({"budget=0.5", seeds, regimes});
  };
  const char* const one = R"(regimes=[{"name": "A"}])";
  REQUIRE(train_selected(suite_of("seeds=[2]", one), folder.path(), {}) == RunOutcome::finished);
  REQUIRE(is_finished(folder.path()));
  const std::string first = read_file(folder / "summary.json");
  const auto table = [&] { return read_file(folder / "table.txt"); };

  REQUIRE(train_selected(suite_of("seeds=[1, 2, 3]", one), folder.path(), {"seed=3"}) == RunOutcome::finished);
  CHECK(is_finished(folder / "A/seed-3"));
  CHECK(contains(table(), "2 of 3 runs finished"));
  const Experiment both = suite_of("seeds=[1, 2]", R"(regimes=[{"name": "A"}, {"name": "B", "batch": {"size": 16}}])");
  CHECK(
      contains(error_of([&] { train_selected(both, folder.path(), {}); }), "A/seed-3: experiment.json and the table"));
  std::filesystem::remove_all(folder / "A/seed-3");
  REQUIRE(train_selected(both, folder.path(), {}) == RunOutcome::finished);
  for (const char* run : {"A/seed-1", "B/seed-1", "B/seed-2"}) CHECK(is_finished(folder / run));
  CHECK_FALSE(std::filesystem::exists(folder / "A/seed-2"));
  CHECK_FALSE(contains(table(), "runs finished"));
  CHECK(read_file(folder / "summary.json") == first);

  // Without it the files in the folder itself could not be identified.
  CHECK(contains(error_of([&] { train_selected(suite_of("seeds=[1]", one), folder.path(), {}); }),
                 "experiment.json and the table would no longer include"));
  // One of several runs that is asked for alone stays where it is, too.
  const TemporaryFolder several;
  REQUIRE(train_selected(suite_of("seeds=[1, 2]", one), several.path(), {"seed=1"}) == RunOutcome::finished);
  const std::string summary = read_file(several / "A/seed-1/summary.json");
  REQUIRE(train_selected(suite_of("seeds=[1]", one), several.path(), {}) == RunOutcome::finished);
  CHECK(read_file(several / "A/seed-1/summary.json") == summary);
  CHECK_FALSE(is_finished(several.path()));
}

TEST_CASE("a folder of foreign files is refused, and nothing in it is changed") {
  const Experiment one = experiment_with({"budget=0.5", "seeds=[1]", R"(regimes=[{"name": "A"}])"});
  const Experiment two = experiment_with({"budget=0.5", "seeds=[1, 2]", R"(regimes=[{"name": "A"}])"});
  const auto refused = [](const Experiment& experiment, const TemporaryFolder& folder) {
    std::map<std::filesystem::path, std::string> before, after;
    const auto all = [&](auto& files) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
        files[entry.path()] = entry.is_regular_file() ? read_file(entry.path()) : "";
    };
    all(before);
    const std::string message = error_of([&] { train_selected(experiment, folder.path(), {}); });
    all(after);
    CHECK(before == after);
    return message;
  };
  for (const Experiment* experiment : {&one, &two}) {
    for (const char* name : {"notes.txt", "events.out.tfevents.1500000000.host", "table.txt", "metrics.jsonl"}) {
      const TemporaryFolder folder;
      write_file_atomically(folder / name, "precious");
      CHECK(contains(refused(*experiment, folder), fmt::format("holds {} but no experiment.json", name)));
    }
    // A configuration named experiment.json does not make a folder a run folder.
    const TemporaryFolder project;
    write_file_atomically(project / "experiment.json", experiment->document.dump());
    write_file_atomically(project / (experiment == &one ? "metrics.jsonl" : "A"), "precious");
    CHECK(refused(*experiment, project) != "no error was thrown");
    // The temporary file of a killed program does not make a folder foreign.
    const TemporaryFolder killed;
    write_file_atomically(killed / "experiment.json.noisysgd-a1b2c3.tmp", "{");
    CHECK(train_selected(*experiment, killed.path(), {}) == RunOutcome::finished);
    CHECK_FALSE(std::filesystem::exists(killed / "experiment.json.noisysgd-a1b2c3.tmp"));
  }
  const TemporaryFolder inner;
  std::filesystem::create_directories(inner / "A/seed-2");
  write_file_atomically(inner / "experiment.json", two.document.dump());
  write_file_atomically(inner / "A/seed-2/notes.txt", "precious");
  CHECK(contains(refused(two, inner), "seed-2: holds notes.txt"));

  // Files of a run that lead elsewhere.
  const TemporaryFolder outside, links;
  write_file_atomically(outside / "victim", "precious");
  REQUIRE(train_selected(two, links.path(), {"seed=1"}) == RunOutcome::finished);
  for (const char* name : {"table.md", "A/seed-1/metrics.jsonl", "A/seed-1/events.out.tfevents.1.host.2"}) {
    const bool there = std::filesystem::exists(links / name);
    if (there) std::filesystem::rename(links / name, links / "kept");
    std::filesystem::create_symlink(outside / "victim", links / name);
    CHECK(contains(refused(two, links), fmt::format("{}: is not a regular file", name)));
    std::filesystem::remove(links / name);
    if (there) std::filesystem::rename(links / "kept", links / name);
  }
  CHECK(read_file(outside / "victim") == "precious");
}

TEST_CASE("a run of a suite that cannot be continued is named, and the others are still made") {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_with({"budget=0.5", "seeds=[1]"});
  REQUIRE(train_selected(experiment, folder.path(), {"regime=SB"}) == RunOutcome::finished);
  std::filesystem::remove(folder / "SB/seed-1/summary.json");
  write_file_atomically(folder / "SB/seed-1/checkpoint.safetensors", "damaged");
  const std::string error = error_of([&] { train_selected(experiment, folder.path(), {}); });
  CHECK(contains(error, "checkpoint.safetensors: 7 bytes are too few"));
  CHECK(contains(error, "checkpoint.safetensors to start the run again"));
  for (const char* run : {"LB/seed-1", "free/seed-1"}) CHECK(is_finished(folder / run));
  CHECK(contains(read_file(folder / "table.txt"), "2 of 3 runs finished"));
  std::filesystem::remove(folder / "SB/seed-1/checkpoint.safetensors");
  CHECK(train_selected(experiment, folder.path(), {}) == RunOutcome::finished);
}

TEST_CASE("a finished suite can be shown in a folder that cannot be written") {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_with({"budget=0.5", "seeds=[1]"});
  REQUIRE(train_selected(experiment, folder.path(), {}) == RunOutcome::finished);
  const ReadOnlyFolder read_only(folder.path());
  CHECK(train_selected(experiment, folder.path(), {}) == RunOutcome::finished);
  // If a file must be written there, the error is reported as before.
  CHECK(contains(error_of([&] { train_selected(experiment_with({"budget=0.5", "seeds=[1, 2]"}), folder.path(), {}); }),
                 "cannot "));
}

TEST_CASE("a run that another program is making is skipped; if no other run is left, that is an error") {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_with({"budget=0.5", "seeds=[1]"});
  write_file_atomically(folder / "experiment.json", experiment.document.dump());
  std::optional<PathLock> other = claim_run(folder / "LB/seed-1", experiment.regimes[1], 1, {});
  CHECK(train_selected(experiment, folder.path(), {}) == RunOutcome::finished);
  CHECK(contains(read_file(folder / "table.txt"), "2 of 3 runs finished"));
  for (const std::vector<std::string>& only : {std::vector<std::string>{}, std::vector<std::string>{"regime=LB"}})
    CHECK(error_of([&] { train_selected(experiment, folder.path(), only); }) ==
          (folder / "LB/seed-1").string() + ": another program is at work in this folder");
  other.reset();
  CHECK(train_selected(experiment, folder.path(), {}) == RunOutcome::finished);
  CHECK_FALSE(contains(read_file(folder / "table.txt"), "runs finished"));
}

TEST_CASE("a program that joins others at work on a suite makes the same runs as they do") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "experiment.json";
  const auto with = [](const std::vector<std::string>& more) {
    std::vector<std::string> assignments{"budget=0.5", "seeds=[1]"};
    assignments.insert(assignments.end(), more.begin(), more.end());
    return experiment_with(assignments);
  };
  const Experiment experiment = with({});
  const std::string document = experiment.document.dump();
  write_file_atomically(path, document);
  std::optional<PathLock> other = PathLock::attempt_shared(path);  // it has begun no run yet
  for (const char* change : {"regimes[1].batch={\"size\": 24}", "seeds=[2]", "seeds=[1, 2]"}) {
    const std::string error = error_of([&] { train_selected(with({change}), folder.path(), {"regime=free"}); });
    INFO(error);
    CHECK(error.starts_with(folder.path().string() +
                            ": another program is at work on it with another configuration ($."));
    CHECK_FALSE(std::filesystem::exists(folder / "free"));
  }
  CHECK(train_selected(with({"threads=1"}), folder.path(), {"regime=free"}) == RunOutcome::finished);
  CHECK(read_file(path) == document);
  other.reset();
  CHECK(train_selected(with({"seeds=[1, 2]"}), folder.path(), {"regime=free"}) == RunOutcome::finished);
  CHECK(is_finished(folder / "free/seed-2"));
}

TEST_CASE("a suite keeps its configuration from its first run to its table") {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_with({"budget=0.5", "seeds=[1]"}),
                   other = experiment_with({"budget=0.5", "seeds=[1]", "optimizer.learning_rate=0.01"});
  // While the second regime is prepared for its run, another program starts, and a program that ignores locks makes
  // the third.
  int built = 0;
  std::string refused;
  Extensions extensions;
  extensions.layers.add("spy", [&](const ConfigReader&, const LayerContext& at) {
    if (++built == 2) {
      refused = error_of([&] { train_selected(other, folder.path(), {"regime=free"}); });
      std::filesystem::create_directories(folder / "free/seed-1");
      write_file_atomically(folder / "free/seed-1/config.json", run_identity(other.regimes[2], 1).dump());
      Json summary = run_summary(folder / "SB/seed-1").value();
      summary["regime"] = "free";
      write_file_atomically(folder / "free/seed-1/summary.json", summary.dump());
    }
    return at.registry.build(Config(Json{{"type", "flatten"}}).root(), at);
  });
  Json document = experiment.document;
  document["regimes"][1]["model"] = {{"type", "sequential"},
                                     {"layers", {{{"type", "spy"}}, {{"type", "flatten"}}, {{"type", "linear"}}}}};
  const Experiment spied = read_experiment(document, "test", extensions);
  Context context({}, 1);
  const std::string error =
      error_of([&] { train_all(context, {spied, extensions, folder.path(), Progress::Mode::quiet}); });
  CHECK(built == 2);
  CHECK(contains(refused, "another configuration ("));
  CHECK(contains(error, "free/seed-1/config.json: was written by another configuration ($.optimizer.learning_rate: "));
  CHECK(is_finished(folder / "LB/seed-1"));
}

TEST_CASE("an evaluation whose loss is not finite is a divergence, and can be tried again") {
  const TemporaryFolder folder;
  // One step an epoch: the weights that it ruins are seen by the evaluation first.
  const std::string regime =
      GENERATE(R"({"learning_rate": 1e38})", R"({"learning_rate": 1e38, "weight_average": 0.5})");
  const Experiment experiment = experiment_with(
      {"seeds=[1]", "batch.size=96", "epochs=1", "regimes[0].batch=null", "regimes[0].optimizer=" + regime});
  for (int attempt = 0; attempt < 2; ++attempt) {
    const std::string error = error_of([&] { train_selected(experiment, folder.path(), {}); });
    CHECK(error == (folder / "SB/seed-1").string() +
                       ": the test loss is not finite after step 1 (epoch 1); a smaller learning rate or a longer "
                       "warm-up may help");
    for (const char* run : {"LB/seed-1", "free/seed-1"}) CHECK(is_finished(folder / run));
    CHECK_FALSE(is_finished(folder / "SB/seed-1"));
    CHECK_FALSE(std::filesystem::exists(folder / "SB/seed-1/checkpoint.safetensors"));
    CHECK(contains(read_file(folder / "table.txt"), "seed 1 at step 1"));
  }
}

TEST_CASE("rates scale with the samples of a batch, not with its configured size") {
  const auto rate = [](int64_t size, const SampleCoupling& coupling) {
    const Regime regime =
        experiment_with({"regimes=[]", fmt::format("batch.size={}", size),
                         R"(optimizer.scaling={"type": "linear", "base_batch": 10})", "optimizer.learning_rate=0.1"})
            .regimes.at(0);
    return regime.batch_schedule(100, coupling).position(0).phase->learning_rate;
  };
  CHECK(rate(4096, {}) == Approx(1));
  CHECK(rate(4096, {}) == rate(100, {}));
  CHECK(rate(50, {}) == Approx(0.5));
  CHECK(rate(70, SampleCoupling::ghosts(20, 1)) == Approx(0.6));
}

TEST_CASE("a file of a run folder that lacks a value is named") {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_with({"budget=0.5", "seeds=[1]"});
  const std::vector<std::string> only{"regime=LB"};
  REQUIRE(train_selected(experiment, folder.path(), only) == RunOutcome::finished);
  const auto message_with = [&](const char* file, const char* text) {
    const std::filesystem::path path = folder.path() / "LB/seed-1" / file;
    const std::string before = read_file(path);
    write_file_atomically(path, text);
    const std::string message = error_of([&] { train_selected(experiment, folder.path(), only); });
    write_file_atomically(path, before);
    return message;
  };
  CHECK(message_with("summary.json", "{\"x\": 1}").ends_with("LB/seed-1/summary.json: \"test_accuracy\" is missing"));
  const auto summary_with = [&](const char* key, const Json& value) {
    Json summary = run_summary(folder / "LB/seed-1").value();
    summary[key] = value;
    return message_with("summary.json", summary.dump().c_str());
  };
  CHECK(summary_with("test_accuracy", 1.5).ends_with("\"test_accuracy\" is 1.5, expected a number from 0 to 1"));
  CHECK(summary_with("train_loss", nullptr).ends_with("\"train_loss\" is null, expected a finite number"));
  CHECK(summary_with("train_loss", "low").ends_with("\"train_loss\" is \"low\", expected a finite number"));
  CHECK(summary_with("seconds", -1).ends_with("\"seconds\" is -1, expected a number from 0 on"));
  CHECK(summary_with("seed", 2).ends_with("\"seed\" is 2, expected 1"));
  CHECK(summary_with("regime", "SB").ends_with("\"regime\" is \"SB\", expected \"LB\""));
  CHECK(message_with("config.json", "{\"seed\": 1}")
            .ends_with("LB/seed-1/config.json: is not as noisysgd-train writes it: \"config\" is missing"));
  for (const char* seed : {"-1", "1.5"})
    CHECK(message_with("config.json", fmt::format(R"({{"regime": "LB", "seed": {}, "config": {{}}}})", seed).c_str())
              .ends_with("\"seed\" is no whole number from 0 on"));
  CHECK(train_selected(experiment, folder.path(), only) == RunOutcome::finished);
}

TEST_CASE("losses are shown in few characters, whatever their size") {
  CHECK(format_loss(0.03604) == "0.0360");
  CHECK(format_loss(99999.5) == "99999.5000");
  CHECK(format_loss(100000) == "1.000e+05");
  CHECK(format_loss(594245826570293839357571894345728.0) == "5.942e+32");
  CHECK(format_loss(-std::nan("")) == "not finite");
}

TEST_CASE("a run that diverges is named, and the others are still made") {
  const TemporaryFolder folder;
  const std::vector<std::string> changes{"budget=0.5", "regimes[1].optimizer={\"learning_rate\": 1e30}",
                                         "regimes[1].epochs=8"};
  const Experiment experiment = experiment_with(changes);
  const std::string error = error_of([&] { train_selected(experiment, folder.path(), {}); });
  for (const char* seed : {"LB/seed-1: the loss is not finite at step ", "LB/seed-2: the loss is not finite at step "})
    CHECK(contains(error, seed));
  for (const char* run : {"SB/seed-1", "SB/seed-2", "free/seed-1", "free/seed-2"})
    CHECK(is_finished(folder.path() / run));
  CHECK_FALSE(is_finished(folder.path() / "LB/seed-1"));
  const std::string table = read_file(folder.path() / "table.txt");
  CHECK(contains(table, "4 of 6 runs finished, 2 diverged"));
  CHECK(contains(table, "seed 1 at step 2, seed 2 at step 2"));
  const Json rows = parse_json(read_file(folder.path() / "table.json"), "table").at("rows");
  REQUIRE(rows.size() == 3);
  CHECK(rows[1].at("runs").empty());
  CHECK_FALSE(rows[1].contains("test_accuracy"));
  REQUIRE(rows[1].at("diverged").size() == 2);
  CHECK(rows[1].at("diverged")[1].at("seed") == 2);
  CHECK(rows[0].at("diverged").empty());

  // The selected runs that do not diverge succeed; the table still lists the others.
  CHECK(train_selected(experiment, folder.path(), {"regime=free"}) == RunOutcome::finished);
  CHECK(read_file(folder.path() / "table.txt") == table);
}

TEST_CASE("held-out images have a column of their own name") {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_with({"budget=0.5", "data.holdout=16", "seeds=[1]"});
  REQUIRE(train_selected(experiment, folder.path(), {}) == RunOutcome::finished);
  const std::string table = read_file(folder.path() / "table.txt");
  CHECK(contains(table, "evaluated on 16 images held out of the training set"));
  CHECK(contains(table, "holdout accuracy %"));
  CHECK_FALSE(contains(table, "test accuracy %"));
  const Json row = parse_json(read_file(folder.path() / "table.json"), "table").at("rows")[0];
  CHECK(row.at("holdout_accuracy").at("mean") == row.at("runs")[0].at("holdout_accuracy"));
  CHECK(row.at("runs")[0].at("training_images") == 80);
}

TEST_CASE("published numbers do not identify a run") {
  const Regime with = experiment_with({}).regimes[0];
  CHECK(with.expected_accuracy == 93.25);
  CHECK(with.effective == experiment_with({R"(regimes[0].expect={"test_accuracy": 12})"}).regimes[0].effective);
  CHECK_THROWS_AS(experiment_with({"regimes[0].expect.test_accuracy=101"}), ConfigError);
}
