// Command lines of the programs: options before the configuration, and arguments that are no text.
#include <noisysgd/apps/arguments.h>

#include <fmt/format.h>

#include <sstream>

#include <noisysgd/core/suggest.h>
#include <noisysgd/core/text_table.h>
#include "tests/apps/command.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr const char* configuration = R"({"data": {"train_size": 20, "test_size": 4}, "epochs": 1,
  "model": {"type": "mlp", "hidden": [3]}, "regimes": [{"name": "a,b"}, {"name": "M=20"}]})";

}  // namespace

TEST_CASE("options that may be repeated take one value each, so that the configuration can follow them") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "c.json", configuration);
  const auto run = [&](const std::vector<std::string>& arguments) {
    return Command(NSGD_TRAIN_PROGRAM, arguments, folder.path()).wait();
  };
  const CommandResult plan = run({"--only", "regime=a,b", "--set", "epochs=2", "c.json", "--dry-run"});
  INFO(plan.error);
  CHECK(plan.status == 0);
  CHECK(contains(plan.output, "a,b: 20 training"));
  CHECK(contains(plan.output, "2 epochs"));
  CHECK_FALSE(contains(plan.output, "M=20"));
  const CommandResult both = run({"--only", "regime=a,b", "--only", "regime=M=20", "--set", "regimes[M=20].epochs=3",
                                  "--set", "seed=4", "c.json", "--dry-run"});
  CHECK(contains(both.output, "a,b: 20 training"));
  CHECK(contains(both.output, "3 epochs"));
}

TEST_CASE("an argument that is not UTF-8 is refused, and shown with its bytes") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "c.json", configuration);
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"c.json", "--quiet", "--set", "name=n\351n"},
        {"c.json", "--quiet", "--output", "n\351n"},
        {"n\351n"}}) {
    const CommandResult result = Command(NSGD_TRAIN_PROGRAM, arguments, folder.path()).wait();
    CHECK(result.status != 0);
    CHECK(contains(result.error, "n\\xe9n: is not UTF-8"));
    CHECK_FALSE(std::filesystem::exists(folder / "runs"));
  }
  write_file_atomically(folder / "bytes.json", "{\"n\xE9\": 1}");
  const CommandResult key = Command(NSGD_TRAIN_PROGRAM, {"bytes.json"}, folder.path()).wait();
  CHECK(key.status == 1);
  CHECK(contains(key.error, "bytes.json:1:5: "));
}

TEST_CASE("a tilde that the shell leaves at the beginning of a path is the home folder") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "home");
  write_file_atomically(folder / "home/c.json", configuration);
  const auto run = [&](const std::string& line) { return Command("/bin/sh", {"-c", line}, folder.path()).wait(); };
  const std::string train = std::string(NSGD_TRAIN_PROGRAM) + " '~/c.json' --quiet ";
  const CommandResult trained = run("HOME=$PWD/home exec " + train + "'--output=~/out'");
  INFO(trained.error);
  CHECK(trained.status == 0);
  CHECK(std::filesystem::exists(folder / "home/out/table.txt"));
  CHECK(run("HOME=$PWD/home exec " + std::string(NSGD_DATA_PROGRAM) + " preview synthetic '--output=~/a.png'").status ==
        0);
  CHECK(std::filesystem::exists(folder / "home/a.png"));
  CHECK_FALSE(std::filesystem::exists(folder / "~"));
  CHECK(contains(run("HOME= exec " + train).error, "~/c.json: the home folder is unknown, as HOME is not set"));
}

TEST_CASE("an argument that is empty is refused, with the one before it, and nothing is touched") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "c.json", configuration);
  const std::vector<std::pair<const char*, std::vector<std::string>>> calls{
      {NSGD_TRAIN_PROGRAM, {"c.json", "--output", ""}},
      {NSGD_DATA_PROGRAM, {"preview", "synthetic", "--output", ""}},
      {NSGD_INSPECT_PROGRAM, {"c.json", "--batch", "4", "--output", ""}}};
  for (const auto& [program, arguments] : calls) {
    const CommandResult result = Command(program, arguments, folder.path()).wait();
    INFO(program << ": " << result.error);
    CHECK(result.status >= 100);
    CHECK(contains(result.error, fmt::format("argument {}, after --output: is empty", arguments.size())));
    CHECK_FALSE(std::filesystem::exists(folder / "runs"));
    CHECK(read_file(folder / "c.json") == configuration);
  }
}

TEST_CASE("whole numbers are decimal, and refused where the configuration refuses them") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "c.json", configuration);
  const auto run = [&](const char* program, const std::vector<std::string>& arguments) {
    return Command(program, arguments, folder.path()).wait();
  };
  const auto inspect = [&](const char* option, const char* value) {
    return run(NSGD_INSPECT_PROGRAM, {"c.json", "--set", "batch.size=20", "--output", "i.safetensors", option, value});
  };
  const CommandResult ten = inspect("--seed", "010");
  INFO(ten.error);
  CHECK(contains(ten.output, "seed 10: 20 samples"));
  CHECK(contains(inspect("--batch", "010").output, "seed 1: 10 samples"));
  CHECK(contains(inspect("--seed", "9223372036854775807").output, "seed 9223372036854775807: "));
  for (const char* seed : {"-1", "9223372036854775808", "99999999999999999999", "0x10", "1e3", "1.0", "+1", " 1", "a"})
    for (const CommandResult& result :
         {inspect("--seed", seed), run(NSGD_DATA_PROGRAM, {"preview", "synthetic", "--output", "p.png", "--seed", seed})}) {
      INFO(seed << ": " << result.error);
      CHECK(result.status >= 100);
      CHECK(contains(result.error, fmt::format("{} is no whole number from 0 to 9223372036854775807", seed)));
    }
  CHECK_FALSE(std::filesystem::exists(folder / "p.png"));
  for (const char* program : {NSGD_TRAIN_PROGRAM, NSGD_BENCH_PROGRAM}) {
    const CommandResult result =
        run(program, {program == std::string(NSGD_TRAIN_PROGRAM) ? "c.json" : "--ceilings", "--threads", "4097"});
    CHECK(result.status >= 100);
    CHECK(contains(result.error, "4097 is no whole number from "));
  }
  CHECK(contains(run(NSGD_TRAIN_PROGRAM, {"c.json", "--threads", "010", "--set", "epochs=1"}).output, "10 threads"));
}

TEST_CASE("an argument is quoted as a shell reads it back") {
  CHECK(shell_quoted("regimes[LB+Diag].epochs=3") == "\"regimes[LB+Diag].epochs=3\"");
  CHECK(shell_quoted("name=\"a\"") == "'name=\"a\"'");
  for (const std::string text : {"it's", "$HOME", "a b", "`x`", "a\\b", "''", "!"}) {
    const TemporaryFolder folder;
    const CommandResult echo = Command("/bin/sh", {"-c", "printf %s " + shell_quoted(text)}, folder.path()).wait();
    CHECK(echo.output == text);
  }
}

TEST_CASE("a help text is broken at 80 columns, below the beginning of its explanations") {
  const std::string word(20, 'w');
  const std::string option = "  --option TEXT               " + word + " " + word + " " + word;
  CHECK(fitted_help(option + "\n") ==
        "  --option TEXT               " + word + " " + word + "\n                              " + word + "\n");
  const std::string below = "                              " + word + " " + word + " ";
  CHECK(fitted_help("  --long\n" + below + word) ==
        "  --long\n" + below.substr(0, below.size() - 1) + "\n                              " + word);
  const std::string plain = word + " " + word + " " + word;
  CHECK(fitted_help(plain + " " + word + "\n\n" + plain) == plain + "\n" + word + "\n\n" + plain);
  const std::string names = "  --layers TEXT:{" + std::string(70, 'x') + "} ...";  // as completion reads it
  CHECK(fitted_help(names) == names);
  const std::string long_word(100, 'w');
  CHECK(fitted_help("  --x   " + long_word + " a") == "  --x   " + long_word + "\n        a");
  CHECK(fitted_help(long_word) == long_word);
  std::string wide = "  --x   ";
  for (int i = 0; i < 36; ++i) wide += "×";
  CHECK(fitted_help(wide + " " + std::string(35, 'a')) == wide + " " + std::string(35, 'a'));  // columns, not bytes
  CHECK(fitted_help("").empty());
}

TEST_CASE("the help of every program and of its subcommands fits into 80 columns") {
  const TemporaryFolder folder;
  const std::vector<std::vector<std::string>> calls{
      {NSGD_BENCH_PROGRAM},           {NSGD_DATA_PROGRAM}, {NSGD_DATA_PROGRAM, "fetch"}, {NSGD_DATA_PROGRAM, "verify"},
      {NSGD_DATA_PROGRAM, "preview"}, {NSGD_EVAL_PROGRAM}, {NSGD_INSPECT_PROGRAM},       {NSGD_NOISE_PICTURES_PROGRAM},
      {NSGD_REPORT_PROGRAM},          {NSGD_TRAIN_PROGRAM}};
  for (std::vector<std::string> call : calls) {
    const std::string program = call.front();
    call.erase(call.begin());
    call.emplace_back("--help");
    const CommandResult help = Command(program, call, folder.path()).wait();
    INFO(help.output);
    CHECK(help.status == 0);
    CHECK(contains(help.output, "\nUsage: "));
    std::istringstream lines(help.output);
    for (std::string line; std::getline(lines, line);) {
      const bool one_word =
          line.find(' ', line.find_first_not_of(' ')) == line.npos;  // choices, which completion reads
      INFO(line);
      CHECK((display_width(line) <= 80 || one_word || contains(line, ":{")));
    }
  }
}
