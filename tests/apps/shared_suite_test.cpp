// Several programs on one suite.
#include <fmt/format.h>

#include <csignal>
#include <deque>
#include <fstream>
#include <set>

#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include "tests/apps/command.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;
namespace fs = std::filesystem;

namespace {

constexpr const char* configuration = R"({
  "name": "suite", "seeds": [1, 2, 3, 4], "threads": 1, "data": {"train_size": 100, "test_size": 20}, "epochs": 1,
  "model": {"type": "mlp", "hidden": [8]}, "batch": {"size": 20}})";

// Starts the programs together, each with a separate folder for its output; the suite is in `folder`.
std::vector<CommandResult> run_together(const TemporaryFolder& folder,
                                        const std::vector<std::vector<std::string>>& programs) {
  std::ofstream(folder / "suite.json") << configuration;
  std::deque<Command> commands;
  for (size_t i = 0; i < programs.size(); ++i) {
    const fs::path own = folder / fmt::format("program-{}", i);
    fs::create_directories(own);
    std::vector<std::string> arguments{"../suite.json", "--resume", "--quiet", "--output", "../out"};
    arguments.insert(arguments.end(), programs[i].begin(), programs[i].end());
    commands.emplace_back(NSGD_TRAIN_PROGRAM, arguments, own);
  }
  std::vector<CommandResult> results;
  for (Command& command : commands) results.push_back(command.wait());
  return results;
}

}  // namespace

TEST_CASE("programs that make different runs of a suite do not disturb each other, and the table has all runs") {
  for (int round = 0; round < 4; ++round) {
    const TemporaryFolder folder;
    for (const CommandResult& result : run_together(folder, {{"--only", "seed=1"},
                                                             {"--only", "seed=2"},
                                                             {"--only", "seed=3"},
                                                             {"--only", "seed=4"}})) {
      CHECK(result.error.empty());
      CHECK(result.status == 0);
    }
    const Json table = parse_json(read_file(folder / "out/table.json"), "table");
    CHECK(table.at("rows").at(0).at("runs").size() == 4);
    CHECK(contains(read_file(folder / "out/table.txt"), "4 seeds\n"));
    for (const auto& entry : fs::recursive_directory_iterator(folder / "out"))
      CHECK(entry.path().extension() != ".tmp");
  }
}

TEST_CASE("programs that make the same whole suite share its runs") {
  const TemporaryFolder folder;
  // A program that finds every run being made by others reports it and ends.
  for (const CommandResult& result : run_together(folder, {{}, {}, {}}))
    if (result.status != 0) CHECK(contains(result.error, "another program is at work in this folder"));
  const Json table = parse_json(read_file(folder / "out/table.json"), "table");
  CHECK(table.at("rows").at(0).at("runs").size() == 4);
}

TEST_CASE("of programs with different configurations only one gets the folder, which holds one configuration") {
  const std::vector<std::vector<std::string>> programs =
      GENERATE(std::vector<std::vector<std::string>>{{"--set", "optimizer.learning_rate=0.01"},
                                                     {"--set", "optimizer.learning_rate=0.001"},
                                                     {"--set", "optimizer.learning_rate=0.0001"}},
               std::vector<std::vector<std::string>>{{"--set", "seed=1"}, {"--set", "seed=2"}, {"--set", "seed=3"}});
  for (int round = 0; round < 4; ++round) {
    const TemporaryFolder folder;
    const std::vector<CommandResult> results = run_together(folder, programs);
    int made = 0;
    for (const CommandResult& result : results) {
      INFO(result.error);
      CHECK(result.status == (result.error.empty() ? 0 : 1));
      made += result.status == 0;
    }
    CHECK(made == 1);
    std::set<std::string> documents;
    for (const auto& entry : fs::recursive_directory_iterator(folder / "out"))
      if (entry.path().filename() == "config.json")
        documents.insert(parse_json(read_file(entry.path()), "config").at("config").dump());
    CHECK(documents.size() == 1);
    const Json table = parse_json(read_file(folder / "out/table.json"), "table");
    CHECK(table.at("rows").at(0).at("runs").size() == table.at("seeds").size());
    const Json document = parse_json(read_file(folder / "out/experiment.json"), "experiment");
    CHECK(table.at("seeds") == (document.contains("seeds") ? document.at("seeds") : Json{document.at("seed")}));
  }
}
