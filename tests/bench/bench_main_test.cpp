// The program around cases, without measuring times.
#include <noisysgd/bench/bench_main.h>

#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include <noisysgd/kernels/elementwise.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::bench;
using namespace noisysgd::test;

namespace {

Case doubled(const std::string& name, double factor) {
  Case one{.name = name, .arrays = {{{33}}, {{33}, Use::write}}};
  one.op = [](Context& context, std::span<const Tensor> a) {
    kernels::scale(context.queue, 33, 2.0f, a[0].f32(), a[1].f32());
  };
  one.reference = [=](std::span<std::vector<double>> a) {
    for (size_t i = 0; i < 33; ++i) a[1][i] = factor * a[0][i];
  };
  return one;
}

int run(std::vector<std::string> arguments) {
  Cases cases;
  cases.add(doubled("right", 2));
  cases.add(doubled("wrong", 2.001));
  arguments.insert(arguments.begin(), "folder/own-bench");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return bench_main(static_cast<int>(argv.size()), argv.data(), cases);
}

}  // namespace

TEST_CASE("a wrong op breaks its bar, which counts with --bars") {
  CHECK(run({"--check", "--bars"}) == 2);
  CHECK(run({"--check"}) == 0);
  CHECK(run({"--check", "--bars", "--only", "right"}) == 0);
  CHECK(run({"--check", "--bars", "--only", "wrong"}) == 2);
}

TEST_CASE("the JSON of a check holds the machine and the bars") {
  const TemporaryFolder folder;
  const std::string path = folder / "report.json";
  CHECK(run({"--check", "--bars", "--json", path}) == 2);
  const Json report = parse_json(read_file(path), path);
  CHECK(report["machine"].contains("processor"));
  CHECK_FALSE(report.contains("cases"));
  REQUIRE(report["bars"].size() == 2);
  CHECK(report["bars"][0]["verdict"] == "kept");
  CHECK(report["bars"][1]["verdict"] == "BROKEN");
  CHECK(report["bars"][1]["value"].get<double>() == Approx(0.0005).epsilon(0.01));
}

TEST_CASE("wrong arguments and files end the program before anything is measured") {
  const TemporaryFolder folder;
  const std::string path = folder / "earlier.json";
  CHECK(run({"--only", "other"}) >= 100);
  CHECK(run({"--check", "--compare", path}) >= 100);
  CHECK(run({"--rounds", "100000", "--compare", path}) == 1);
  CHECK(run({"--rounds", "100000", "--json", folder.path()}) == 1);
  CHECK(run({"--rounds", "100000", "--precision", "tf32"}) == 1);
}
