// noisysgd-analyze as a user runs it, and the reading of its configurations.
#include <filesystem>
#include <string>
#include <vector>

#include <noisysgd/apps/analysis/analysis.h>
#include <noisysgd/apps/version.h>
#include <noisysgd/core/file.h>
#include "tests/apps/command.h"
#include "tests/apps/failing_gnuplot.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

namespace fs = std::filesystem;

const fs::path paper = fs::path(NSGD_SOURCE_DIR) / "apps/configs/paper";

constexpr const char* quadratic =
    R"({"name": "q", "analysis": {"type": "quadratic", "matrix": [5, 4.5, 4.5, 5], "start": [6, -4], "runs": 50}})";

std::string problem_of(const std::string& text, const std::vector<std::string>& assignments = {}) {
  return error_of(
      [&] { read_analysis(parse_config(text, "test"), "test", AnalysisRegistry::builtin(), {}, assignments); });
}

class Probe : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input) {
    input.json.integer("count", {.default_value = 3});
    const Experiment experiment = read_experiment(input.experiment, input.origin, input.extensions, input.assignments);
    NSGD_CHECK(experiment.seeds == std::vector<uint64_t>{7}, "the seed of the experiment is wrong");
    return std::make_unique<Probe>();
  }
  void run(AnalysisOutput& output) override {
    output.number("infinite", 1.0 / 0.0);
    output.number("four", 4);
  }
};

}  // namespace

TEST_CASE("every configuration of the paper's theory runs, and writes figures and numbers") {
  const TemporaryFolder folder;
  // Shorter where that changes nothing but the time.
  const std::vector<std::pair<std::string, std::vector<std::string>>> runs{
      {"figure1", {"--set", "analysis.draws=500"}},
      {"figure4", {"--set", "analysis.runs=50"}},
      {"theorem41", {"--set", "analysis.monte_carlo.runs=10", "--set", "analysis.steps=2000"}},
      {"appendix-b", {"--set", "analysis.pairs=2"}}};
  for (const auto& [name, further] : runs) {
    INFO(name);
    const std::string text = read_file(paper / (name + ".json"));
    CHECK(contains(text, "second"));  // the time that it takes
    std::vector<std::string> arguments{(paper / (name + ".json")).string()};
    arguments.insert(arguments.end(), further.begin(), further.end());
    const CommandResult result = Command(NSGD_ANALYZE_PROGRAM, arguments, folder.path()).wait();
    INFO(result.error);
    REQUIRE(result.status == 0);
    const Json record = parse_json(read_file(folder / "runs" / name / "analysis.json"), "record");
    CHECK(record["configuration"]["name"] == name);
    CHECK(record["numbers"].size() > 3);
    REQUIRE_FALSE(record["figures"].empty());
    for (const std::string figure : record["figures"])
      for (const char* suffix : {".csv", ".json", ".svg", ".png"})
        CHECK(fs::file_size(folder / "runs" / name / (figure + suffix)) > 0);
  }
}

TEST_CASE("an analysis gives the same numbers for the same seed, and others for another") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "q.json", quadratic);
  const auto numbers = [&](const std::string& output, const std::vector<std::string>& further) {
    std::vector<std::string> arguments{"q.json", "--quiet", "--output", output};
    arguments.insert(arguments.end(), further.begin(), further.end());
    const CommandResult result = Command(NSGD_ANALYZE_PROGRAM, arguments, folder.path()).wait();
    CHECK(result.error + result.output == "");
    return read_file(folder / output / "trajectories.csv");
  };
  const std::string first = numbers("a", {});
  CHECK(numbers("a", {}) == first);
  CHECK(numbers("b", {"--seed", "1"}) == first);
  CHECK(numbers("b", {"--seed", "2"}) != first);
}

TEST_CASE("a configuration of an analysis is refused with every problem") {
  CHECK(contains(problem_of("{}"), "$.analysis.type"));
  CHECK(contains(problem_of(R"({"analysis": {"type": "quadratics"}})"), "quadratic"));
  CHECK(contains(problem_of(R"({"analysis": 3})"), "$.analysis"));
  CHECK(contains(problem_of(R"([])"), "test"));
  const std::string several = problem_of(
      R"({"name": "a/b", "sed": 1, "analysis": {"type": "quadratic", "matrix": [5, 4.5, 4.5, 5], "start": [1],
          "rate": 0.3, "noises": ["full", "ful"]}})");
  for (const char* part :
       {"$.name", "$.sed", "$.analysis.start", "$.analysis.rate: expected a rate below",
        R"($.analysis.noises[1]: expected one of "full", "diagonal", "isotropic", "identity", got text "ful"; did)"})
    CHECK(contains(several, part));
  CHECK(contains(problem_of(quadratic, {"analysis.steps=0"}), "$.analysis.steps"));
  CHECK(problem_of(quadratic, {"analysis.steps=10"}) == "no error was thrown");
  CHECK(contains(problem_of(R"({"analysis": {"type": "one_step_2d", "small_batch": 100}})"),
                 "$.analysis.small_batch: expected fewer than the 100 samples"));
  CHECK(contains(problem_of(R"({"analysis": {"type": "stability", "samples": 10,
                                "spectrum": {"type": "power", "dimension": 10}}})"),
                 "$.analysis.samples: expected more samples than the 10 dimensions"));
  CHECK(contains(problem_of(R"({"analysis": {"type": "quadratic", "start": [1, 1],
                                "spectrum": {"type": "power", "dimension": 3}}})"),
                 "expected two parameters"));
}

TEST_CASE("\"$schema\" is ignored at the top of an analysis") {
  const auto effective = [](const char* text) {
    return read_analysis(parse_config(text, "test"), "test", AnalysisRegistry::builtin(), {}, {}).effective;
  };
  CHECK_FALSE(effective(R"({"$schema": "s.json", "analysis": {"type": "one_step_2d"}})").contains("$schema"));
  CHECK_FALSE(effective(R"({"$schema": "s.json", "analysis": {"type": "convergence"}})").contains("$schema"));
  CHECK(contains(problem_of(R"({"$schema": 3, "analysis": {"type": "convergence"}})"), "$schema: expected a text"));
}

TEST_CASE("a program adds an analysis of its own that has an experiment") {
  AnalysisRegistry analyses = AnalysisRegistry::builtin();
  analyses.add("probe", Probe::read, true);
  const auto read = [&](const char* text) {
    return read_analysis(parse_config(text, "test"), "test", analyses, {}, {"seed=7"});
  };
  ConfiguredAnalysis configured = read(R"({"analysis": {"type": "probe"}, "seeds": [1, 2], "epochs": 2})");
  CHECK(configured.effective["analysis"]["count"] == 3);
  CHECK(configured.effective["epochs"] == 2);
  const TemporaryFolder folder;
  run_analysis(configured, folder / "out", Progress::Mode::quiet);
  const Json record = parse_json(read_file(folder / "out/analysis.json"), "record");
  CHECK(record["numbers"]["infinite"].is_null());
  CHECK(record["numbers"]["four"] == 4);
  CHECK(contains(error_of([&] { read(R"({"analysis": {"type": "probe"}, "epoch": 2})"); }), "epoch"));
}

TEST_CASE("without gnuplot an analysis writes its numbers and says what to install") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "q.json", quadratic);
  const std::string line = "PATH=/nowhere exec '" + std::string(NSGD_ANALYZE_PROGRAM) + "' q.json --output out";
  const CommandResult result = Command("/bin/sh", {"-c", line}, folder.path()).wait();
  CHECK(result.status == 0);
  CHECK(contains(result.output, "no pictures are drawn: gnuplot is not found"));
  CHECK(fs::exists(folder / "out/expected_loss.csv"));
  CHECK_FALSE(fs::exists(folder / "out/expected_loss.svg"));
  CHECK(Command(NSGD_ANALYZE_PROGRAM, {"--version"}, folder.path()).wait().output == version_line() + "\n");
}

TEST_CASE("if gnuplot fails, all numbers are written, the figures are named, and the command can be repeated") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "q.json", quadratic);
  write_failing_gnuplot(folder.path());
  const std::string line = "PATH=.:$PATH exec '" + std::string(NSGD_ANALYZE_PROGRAM) + "' q.json --output out";
  const CommandResult failed = Command("/bin/sh", {"-c", line}, folder.path()).wait();
  CHECK(failed.status == 1);
  for (const char* figure : {"trajectories", "expected_loss"}) {
    CHECK(contains(failed.error, std::string("out/") + figure + ": has no picture: gnuplot: failed: line 3: no such terminal"));
    CHECK(fs::exists(folder / "out" / (std::string(figure) + ".csv")));
  }
  const Json record = parse_json(read_file(folder / "out/analysis.json"), "record");
  CHECK(record["problems"].size() == 2);
  CHECK(record["numbers"].size() > 3);
  const CommandResult repeated = Command(NSGD_ANALYZE_PROGRAM, {"q.json", "--output", "out"}, folder.path()).wait();
  CHECK(repeated.error == "");
  CHECK(fs::exists(folder / "out/expected_loss.svg"));
  CHECK_FALSE(parse_json(read_file(folder / "out/analysis.json"), "record").contains("problems"));
}

TEST_CASE("an analysis that fails leaves no figures of an earlier one, and says that it has not finished") {
  class Fails : public Analysis {
   public:
    static std::unique_ptr<Analysis> read(const AnalysisInput& input) {
      auto analysis = std::make_unique<Fails>();
      analysis->fails_ = input.json.boolean("fails", false);
      return analysis;
    }
    void run(AnalysisOutput& output) override {
      output.number("one", 1);
      NSGD_CHECK(!fails_, "failed");
      output.figure("drawn", {"", {{"", {"x"}, {"y"}, {{"s", {1, 2}, {1, 2}}}}}});
    }
    bool fails_ = false;
  };
  AnalysisRegistry analyses = AnalysisRegistry::builtin();
  analyses.add("fails", Fails::read);
  const TemporaryFolder folder;
  const auto run = [&](const char* text) {
    ConfiguredAnalysis configured = read_analysis(parse_config(text, "test"), "test", analyses, {});
    return error_of([&] { run_analysis(configured, folder / "a", Progress::Mode::quiet); });
  };
  const auto record = [&] { return parse_json(read_file(folder / "a/analysis.json"), "record"); };
  CHECK(run(R"({"analysis": {"type": "fails"}})") == "no error was thrown");
  CHECK(record()["finished"] == true);
  CHECK(fs::exists(folder / "a/drawn.csv"));
  CHECK(run(R"({"analysis": {"type": "fails", "fails": true}})") == "failed");
  CHECK(record()["finished"] == false);
  CHECK(record()["configuration"]["analysis"]["fails"] == true);
  CHECK(record()["figures"].empty());
  CHECK_FALSE(fs::exists(folder / "a/drawn.csv"));
  const char* other = R"({"analysis": {"type": "quadratic", "matrix": [5, 4.5, 4.5, 5], "start": [6, -4], "runs": 2}})";
  run(R"({"analysis": {"type": "fails"}})");
  CHECK(contains(run(other), "holds an analysis of type \"fails\"; give another --output for \"quadratic\""));
  CHECK(fs::exists(folder / "a/drawn.csv"));
  run(R"({"analysis": {"type": "fails", "fails": true}})");
  CHECK(run(other) == "no error was thrown");  // nothing of the other analysis is there
}

TEST_CASE("an assignment to seeds replaces seed in the configuration of an analysis") {
  const std::string text = R"({"analysis": {"type": "convergence"}, "seed": 3, "data": {"train_size": 64},
    "model": {"type": "mlp"}, "epochs": 1, "batch": {"size": 32}, "optimizer": {"learning_rate": 0.1}})";
  for (const char* assignment : {"seeds=[1,2]", "$.seeds=[1,2]", "seed=4"})
    CHECK(problem_of(text, {assignment}) == "no error was thrown");
}

TEST_CASE("an analysis keeps out of a folder that something else has made") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "q.json", quadratic);
  fs::create_directories(folder / "mine");
  write_file_atomically(folder / "mine/thesis.txt", "text");
  const CommandResult result = Command(NSGD_ANALYZE_PROGRAM, {"q.json", "--output", "mine"}, folder.path()).wait();
  CHECK(result.status == 1);
  CHECK(contains(result.error, "noisysgd-analyze: mine: holds thesis.txt, but no analysis; expected an empty folder"));
}
