// What a report finds in folders, and what it makes of files that are damaged.
#include <noisysgd/apps/report/sources.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/apps/report/run_folders.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

std::vector<std::string> labels_of(const ReportSources& sources) {
  std::vector<std::string> labels;
  for (const RunGroup& group : sources.groups) labels.push_back(group.label);
  return labels;
}

void write_suite(const std::filesystem::path& folder) {
  write_json(folder / "experiment.json",
             {{"seeds", {1, 2}}, {"regimes", {{{"name", "SB"}}, {{"name", "LB"}}, {{"name", "free"}}}}});
  for (const uint64_t seed : {2, 1}) {
    write_run(folder / "SB" / ("seed-" + std::to_string(seed)), "SB", seed, {{"epochs", 2}, {"size", 1}});
    write_run(folder / "LB" / ("seed-" + std::to_string(seed)), "LB", seed, {{"epochs", 2}, {"size", 9}});
  }
}

}  // namespace

TEST_CASE("a suite's runs are grouped by regime in the suite's order, and runs not begun are named") {
  const TemporaryFolder folder;
  write_suite(folder / "s");
  const ReportSources sources = read_sources({folder / "s"});
  CHECK(sources.problems.empty());
  CHECK(labels_of(sources) == std::vector<std::string>{"SB", "LB"});
  REQUIRE(sources.groups[0].runs.size() == 2);
  CHECK(sources.groups[0].runs[0].seed == 1);
  CHECK(sources.missing ==
        std::vector<std::string>{(folder / "s").string() + ": free seed 1", (folder / "s").string() + ": free seed 2"});
}

TEST_CASE("a run is shown once, however often its folder is named") {
  const TemporaryFolder folder;
  write_suite(folder / "s");
  const ReportSources sources =
      read_sources({folder / "s/SB/seed-1", folder / "s/", folder / "s", folder / "s/../s/LB"});
  CHECK(sources.problems.empty());
  CHECK(labels_of(sources) == std::vector<std::string>{"SB", "LB"});
  CHECK(sources.groups[0].runs.size() == 2);
  CHECK(sources.groups[1].runs.size() == 2);
}

TEST_CASE("regimes of one name are told apart by their suite, and seeds of one configuration are joined") {
  const TemporaryFolder folder;
  const Json one{{"epochs", 1}}, other{{"epochs", 2}};
  write_run(folder / "a/R/seed-1", "R", 1, one);
  write_run(folder / "b/R/seed-2", "R", 2, one);
  write_run(folder / "c/R/seed-1", "R", 1, other);
  for (const char* suite : {"a", "b", "c"})
    write_json(folder / suite / "experiment.json", {{"seeds", {1}}, {"regimes", {{{"name", "R"}}}}});
  const ReportSources sources = read_sources({folder / "a", folder / "b", folder / "c"});
  CHECK(labels_of(sources) == std::vector<std::string>{"a/R", "c/R"});
  CHECK(sources.groups[0].runs.size() == 2);
  // The same seed of the same configuration twice: two groups, so that they can be compared.
  write_run(folder / "b/R/seed-1", "R", 1, one);
  CHECK(labels_of(read_sources({folder / "a", folder / "b"})) == std::vector<std::string>{"a/R", "b/R"});
}

TEST_CASE("runs of an analysis are labelled with the folder of the analysis") {
  const TemporaryFolder folder;
  for (const char* analysis : {"figure-a", "figure-b"}) {
    write_run(folder / analysis / "runs/R/seed-1", "R", 1);
    write_json(folder / analysis / "runs/experiment.json", {{"seeds", {1}}, {"regimes", {{{"name", "R"}}}}});
  }
  CHECK(labels_of(read_sources({folder / "figure-a", folder / "figure-b"})) ==
        std::vector<std::string>{"figure-a/R", "figure-b/R"});
}

TEST_CASE("a run that is being written is read up to its last whole line") {
  const TemporaryFolder folder;
  write_run(folder / "r", "", 4);
  write_file_atomically(folder / "r/metrics.jsonl", log_of(1, 3, R"({"step": 4, "epo)"));
  const ReportSources sources = read_sources({folder / "r"});
  CHECK(sources.problems.empty());
  CHECK(labels_of(sources) == std::vector<std::string>{"r"});
  const LoggedRun& run = sources.groups[0].runs[0];
  CHECK(run.train.lines() == 3);
  CHECK(run.evaluated.lines() == 1);
  CHECK(run.train.layers == std::vector<std::string>{"conv<1>"});
  REQUIRE(run.train.find("variance_ratio", "conv<1>"));
  CHECK(run.train.find("variance_ratio", "conv<1>")->at(2) == 1.5);
  CHECK_FALSE(run.last_change.empty());
  CHECK_FALSE(run.summary);
}

TEST_CASE("values that are null in a log are NaN, and columns are as long as the log") {
  const TemporaryFolder folder;
  write_run(folder / "r", "", 4);
  write_file_atomically(folder / "r/metrics.jsonl",
                        "{\"step\":1,\"epoch\":1,\"split\":\"train\",\"loss\":1,\"noise_norm\":null}\n"
                        "{\"step\":2,\"epoch\":1,\"split\":\"train\",\"loss\":null,\"noise_norm\":2,"
                        "\"nonfinite\":{\"loss\":\"nan\"}}\n"
                        "{\"step\":3,\"epoch\":1,\"split\":\"train\",\"loss\":3}\n");
  const ReportSources sources = read_sources({folder / "r"});
  CHECK(sources.problems.empty());
  const LogColumns& log = sources.groups.at(0).runs.at(0).train;
  REQUIRE(log.find("loss"));
  REQUIRE(log.find("noise_norm"));
  CHECK(log.find("loss")->size() == 3);
  CHECK(std::isnan(log.find("loss")->at(1)));
  CHECK(log.find("loss")->at(2) == 3);
  CHECK(std::isnan(log.find("noise_norm")->at(0)));
  CHECK(log.find("noise_norm")->at(1) == 2);
  CHECK(std::isnan(log.find("noise_norm")->at(2)));
}

TEST_CASE("damaged files are named, and everything else is shown") {
  const TemporaryFolder folder;
  write_run(folder / "good", "good", 1);
  write_run(folder / "log", "log", 1);
  write_file_atomically(folder / "log/metrics.jsonl", "{\"step\": 1,\n" + log_of(1, 2) + "[]\n{\"step\": \"<b>\"}\n");
  write_run(folder / "end", "end", 1);
  write_file_atomically(folder / "end/summary.json", "{");
  write_file_atomically(folder / "end/diverged.json", "[]");
  make_folder(folder / "bad");
  write_file_atomically(folder / "bad/config.json", R"({"regime": "bad", "seed": -1, "config": {}})");
  make_folder(folder / "analysis");
  write_file_atomically(folder / "analysis/analysis.json", R"({"figures": 3})");
  make_folder(folder / "empty");
  write_file_atomically(folder / "file", "");
  const auto path = [&](const char* name) { return (folder / name).string(); };

  const ReportSources sources = read_sources({folder / "good", folder / "log", folder / "end", folder / "bad",
                                              folder / "analysis", folder / "empty", folder / "file", folder / "gone"});
  CHECK(labels_of(sources) == std::vector<std::string>{"good", "log", "end"});
  CHECK(sources.groups[1].runs[0].train.lines() == 2);
  CHECK(sources.analyses.empty());
  REQUIRE(sources.problems.size() == 8);
  CHECK(contains(sources.problems[0], path("log/metrics.jsonl") + ": 3 of 6 lines cannot be read and are left out; "
                                                                  "line 1: column "));
  CHECK(contains(sources.problems[1], path("end/summary.json") + ":"));
  CHECK(sources.problems[2] == path("end/diverged.json") + ": array is no object");
  CHECK(contains(sources.problems[3], path("bad/config.json") + ": is not as noisysgd-train writes it: \"seed\""));
  CHECK(contains(sources.problems[4], path("analysis/analysis.json") + ": is not as noisysgd-analyze writes it"));
  CHECK(sources.problems[5] == path("empty") + ": holds no run, no suite and no analysis");
  CHECK(sources.problems[6] ==
        path("file") + ": is not a folder; expected the folder of a run, a suite or an analysis");
  CHECK(sources.problems[7] == path("gone") + ": does not exist");
}

TEST_CASE("a result that cannot be is named and not shown, and a damaged file is named once") {
  const TemporaryFolder folder;
  const auto problem_of = [&](const Json& summary, const char* file = "summary.json") {
    write_run(folder / "run", "A", 1);
    write_json(folder / "run" / file, summary);
    const ReportSources sources = read_sources({folder / "run"});
    REQUIRE(sources.groups.size() == 1);
    CHECK_FALSE(sources.groups[0].runs[0].summary);
    CHECK_FALSE(sources.groups[0].runs[0].divergence);
    REQUIRE(sources.problems.size() == 1);
    std::filesystem::remove(folder / "run" / file);
    return sources.problems[0];
  };
  const std::string path = (folder / "run/summary.json").string();
  CHECK(problem_of(Json::object()) == path + ": \"test_accuracy\" is missing");
  Json summary = summary_with(5.25);
  CHECK(problem_of(summary) == path + ": \"test_accuracy\" is 5.25, expected a number from 0 to 1");
  summary = summary_with(0.5);
  summary["train_loss"] = "x";
  CHECK(problem_of(summary) == path + ": \"train_loss\" is \"x\", expected a finite number");
  CHECK(problem_of(Json{{"regime", 3}}, "diverged.json") ==
        (folder / "run/diverged.json").string() + ": \"step\" is missing");

  write_run(folder / "suite/A/seed-1", "A", 1);
  write_file_atomically(folder / "suite/experiment.json", "{");
  const ReportSources sources = read_sources({folder / "suite"});
  CHECK(sources.problems.size() == 1);
}
