// --only can select a regime with any name.
#include <noisysgd/apps/selection.h>

#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using noisysgd::test::error_of;

namespace {

Experiment experiment_of(const std::vector<std::string>& names) {
  Json document{{"name", "tiny"}, {"seeds", {1, 2}}, {"regimes", Json::array()}};
  for (const std::string& name : names) document["regimes"].push_back({{"name", name}});
  return read_experiment(document, "test", {});
}

}  // namespace

TEST_CASE("a name with a comma or an equals sign is not split") {
  const Experiment experiment = experiment_of({"a", "a,b", "M=20", "say \"x\"", "[1],seed=x"});
  const auto selected = [&](const std::string& text) {
    const Selection selection({text}, experiment);
    std::string places;
    for (const Regime& regime : experiment.regimes)
      for (const uint64_t seed : experiment.seeds) places += selection.includes(regime, seed) ? '1' : '0';
    return places;
  };
  CHECK(selected("regime=a") == "1100000000");
  CHECK(selected("regime=a,b") == "0011000000");
  CHECK(selected("regime=a,b,seed=2") == "0001000000");
  CHECK(selected("regime=M=20,regime=a") == "1100110000");
  CHECK(selected("regime=\"a,b\",seed=1") == "0010000000");
  CHECK(selected("regime=say \"x\"") == "0000001100");
  CHECK(selected(R"(regime="say \"x\"",seed=1)") == "0000001000");
  CHECK(selected("seed=2,regime=[1],seed=x") == "0000000001");
  CHECK(error_of([&] { selected("regime=a,c"); }) ==
        "--only regime=a,c: expected regime=NAME or seed=NUMBER, got \"c\"");
  CHECK(error_of([&] { selected("regime=a,b,"); }).find("regime=NAME") != std::string::npos);
}

TEST_CASE("quotation marks decide between two possible names") {
  const Experiment experiment = experiment_of({"a", "a,seed=1"});
  CHECK(error_of([&] { Selection({"regime=a,seed=1"}, experiment); }) ==
        "--only regime=a,seed=1: may mean the regime \"a\" or \"a,seed=1\"; --only 'regime=\"a\"' means the first");
  const Selection first({"regime=\"a\",seed=1"}, experiment), second({"regime=\"a,seed=1\""}, experiment);
  CHECK(first.includes(experiment.regimes[0], 1));
  CHECK_FALSE(first.includes(experiment.regimes[0], 2));
  CHECK_FALSE(first.includes(experiment.regimes[1]));
  CHECK(second.includes(experiment.regimes[1], 2));
  CHECK_FALSE(second.includes(experiment.regimes[0]));
  const Selection whole({"regime=a,seed=1,seed=2"}, experiment_of({"a,seed=1"}));
}
