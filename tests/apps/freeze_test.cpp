// model.freeze: frozen parameters keep their values in a run, which can be resumed, described and evaluated as any
// other.
#include <fmt/format.h>

#include <noisysgd/core/file.h>
#include "tests/apps/run_files.h"
#include "tests/apps/workplace.h"
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;
namespace fs = std::filesystem;

namespace {

CommandResult train(const Workplace& place, const std::string& folder, const std::vector<std::string>& settings,
                    const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"--output", folder, "--quiet"};
  for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return place.run(arguments);
}

}  // namespace

TEST_CASE("frozen parameters keep the values that they start from, and running statistics go on") {
  const Workplace place;
  const std::vector<std::string> settings{"optimizer.weight_decay=0.01", "optimizer.weight_average=0.9",
                                          "batch.micro=32", R"(model.freeze=["conv1.*", "bn1.weight"])"};
  REQUIRE(train(place, "run", settings).status == 0);
  auto first = settings;
  first.push_back("epochs=1");
  first.push_back("optimizer.learning_rate=1e-30");  // the values from the seed
  REQUIRE(train(place, "start", first).status == 0);
  const auto run = tensors_of(place.path() / "run"), start = tensors_of(place.path() / "start");
  for (const char* name : {"conv1.weight", "conv1.bias", "bn1.weight"}) {
    CAPTURE(name);
    REQUIRE(run.contains(name));
    CHECK(run.at(name) == start.at(name));
    CHECK(run.at(fmt::format("average.{}", name)) == start.at(name));
    for (const float value : run.at(fmt::format("momentum.{}", name))) CHECK(value == 0);
  }
  for (const char* name : {"bn1.bias", "linear1.weight", "linear1.bias", "bn1.running_mean", "bn1.running_var"})
    CHECK(run.at(name) != start.at(name));
}

TEST_CASE("a run with frozen parameters continues bit for bit, and only as the same run") {
  const Workplace place;
  const std::vector<std::string> settings{R"(model.freeze=["conv1.*"])"};
  REQUIRE(train(place, "whole", settings).status == 0);
  auto shorter = settings;
  shorter.insert(shorter.end(), {"epochs=2", "noise.stop_fraction=1"});
  auto whole = settings;
  whole.insert(whole.end(), {"epochs=3", "noise.stop_fraction=1"});
  REQUIRE(train(place, "long", whole).status == 0);
  REQUIRE(train(place, "run", shorter).status == 0);
  REQUIRE(train(place, "run", shorter, {"--resume", "--epochs", "3"}).status == 0);
  CHECK(tensors_of(place.path() / "run") == tensors_of(place.path() / "long"));
  CHECK(contains(train(place, "whole", {}, {"--resume"}).error, "$.model.freeze"));
}

TEST_CASE("a description and a dry run say what is frozen") {
  const Workplace place;
  const auto printed = [&](const char* option, const char* globs) {
    return place.run({option, "--set", fmt::format("model.freeze={}", globs)}).output;
  };
  CHECK(contains(printed("--describe", R"(["*.bias"])"), ", 18 frozen"));  // of 4, 4 and 10 elements
  CHECK(contains(printed("--describe", R"(["bn1.*"])"), " 8 frozen"));
  CHECK_FALSE(contains(printed("--describe", "[]"), "frozen"));
  const Json graph = parse_json(printed("--describe=json", R"(["conv1.weight"])"), "graph");
  int frozen = 0;
  for (const Json& node : graph.at("nodes"))
    for (const Json& parameter : node.at("parameters"))
      if (parameter.contains("frozen")) {
        ++frozen;
        CHECK(parameter.at("name") == "conv1.weight");
      }
  CHECK(frozen == 1);
  CHECK(contains(printed("--dry-run", R"(["bn1.*"])"), " parameters (8 frozen), "));
}

TEST_CASE("problems of model.freeze are found before the run") {
  const Workplace place;
  const auto refused = [&](const char* setting, const std::vector<std::string>& more = {}) {
    const CommandResult result = train(place, "out", {setting}, more);
    CHECK(result.status == 1);
    CHECK_FALSE(fs::exists(place.path() / "out"));
    return result.error;
  };
  CHECK(refused(R"(model.freeze=["conv.*"])") ==
        "noisysgd-train: small.json: model.freeze: \"conv.*\" matches no parameter of this network; did you mean "
        "\"conv1.*\"?\n");
  CHECK(refused(R"(model.freeze=["*"])") == "noisysgd-train: small.json: model.freeze: leaves no parameter to train\n");
  CHECK(contains(refused(R"(model.freeze="conv1.*")"), "$.model.freeze: expected a list"));
  CHECK(contains(refused(R"(model.freeze=["bn1.*"])", {"--set", R"(noise.parameters=["bn1.*"])"}),
                 "noise.parameters: model.freeze freezes every parameter that they name"));
}
