// The program noisysgd-bench: problems of its files are reported before anything is measured.
#include <fstream>

#include "tests/apps/command.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// The error of a refused call. The measurement that it requests would take longer than a test may.
std::string refused(const TemporaryFolder& folder, const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"--ceilings", "--threads", "1", "--rounds", "100000"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const CommandResult result = Command(NSGD_BENCH_PROGRAM, arguments, folder.path()).wait();
  CHECK(result.status == 1);
  CHECK(result.output.empty());
  return result.error;
}

}  // namespace

TEST_CASE("an output file that cannot be written is reported before anything is measured") {
  const TemporaryFolder folder;
  CHECK(refused(folder, {"--json", "nowhere/figures.json"}) ==
        "noisysgd-bench: cannot write nowhere/figures.json: No such file or directory\n");
  CHECK(contains(refused(folder, {"--json", "."}), "noisysgd-bench: cannot write "));
  std::ofstream(folder / "configuration.json") << "{\"epochs\": 3}";
  CHECK(refused(folder, {"--json", "configuration.json"}) ==
        "noisysgd-bench: configuration.json: is there and is not the figures of a benchmark; it is not replaced\n");
}

TEST_CASE("every problem of a file of bars is reported with its key") {
  const TemporaryFolder folder;
  const auto problems = [&](const char* text) {
    std::ofstream(folder / "bars.json") << text;
    return refused(folder, {"--bars", "bars.json"});
  };
  const std::string goal = R"("goal": "G4", "section": "steps", "variant": "noise")";
  const auto problem = [&](const std::string& bar) { return problems(("{\"bars\": [" + bar + "]}").c_str()); };
  const auto told = [](const std::string& text) { return "noisysgd-bench: bars.json: 1 problem\n  " + text + "\n"; };
  CHECK(problems("{\"bars\": [").starts_with("noisysgd-bench: bars.json:1:11: syntax error"));
  CHECK(contains(problems("{}"), "$.bars: missing"));
  CHECK(contains(problems("{\"bars\": 3}"), "$.bars: expected a list of objects, got 3"));
  CHECK(contains(problems("[]"), "$: expected an object"));
  CHECK(problem("{" + goal + R"(, "at_most": "1"})") == told("$.bars[0].at_most: expected a number, got text \"1\""));
  CHECK(problem("{" + goal + "}") == told("$.bars[0].at_most: give either at_most or at_least"));
  CHECK(problem("{" + goal + R"(, "at_most": 1, "at_least": 1})") ==
        told("$.bars[0].at_most: give either at_most or at_least"));
  CHECK(contains(problem("{" + goal + R"(, "at_most": 1, "chanels": 3})"), "$.bars[0].chanels: unknown key"));
  CHECK(problem(R"({"goal": "G1", "section": "layers", "operation": "x", "at_most": 1, "channels": [64]})") ==
        told("$.bars[0].channels: must have 2 entries, has 1"));
  CHECK(problem(R"({"goal": "G1", "section": "step", "variant": "x", "at_most": 1})") ==
        told(R"($.bars[0].section: expected one of "layers", "steps", "curvature", "bandwidth", got text "step"; did you mean "steps"?)"));
}
