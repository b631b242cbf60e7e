#include <noisysgd/apps/experiment.h>

#include <fmt/format.h>

#include <noisysgd/core/file.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;

namespace {

std::vector<std::string> problems_of(const char* text) {
  try {
    read_experiment(parse_config(text, "test"), "test", {});
  } catch (const ConfigError& error) {
    return error.problems();
  }
  return {};
}

bool any_mentions(const std::vector<std::string>& problems, const std::string& text) {
  for (const std::string& problem : problems)
    if (problem.find(text) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("every problem of an experiment is reported at once, with its path and the nearest name") {
  const auto problems = problems_of(R"({
    "epoch": 3, "batch": {"size": 0}, "optimizer": {"momentum": "much", "learning_rat": 1},
    "noise": {"type": "diagonal_fisher", "small_batch": 128, "sigma": 1}})");
  CHECK(any_mentions(problems, "\"epochs\""));
  CHECK(any_mentions(problems, "$.batch.size"));
  CHECK(any_mentions(problems, "$.optimizer.momentum"));
  CHECK(any_mentions(problems, "\"learning_rate\""));
  CHECK(any_mentions(problems, "$.noise.sigma"));
  CHECK(problems.size() == 5);
}

TEST_CASE("\"$schema\" is ignored at the top of a document, and unknown elsewhere") {
  const Experiment experiment = read_experiment(parse_config(R"({"$schema": "s.json"})", "test"), "test", {});
  CHECK_FALSE(experiment.regimes.at(0).effective.contains("$schema"));
  CHECK(any_mentions(problems_of(R"({"$schema": 3})"), "$schema: expected a text, got 3"));
  CHECK(any_mentions(problems_of(R"({"data": {"$schema": "s.json"}})"), "$schema: unknown key"));
  CHECK(problems_of(R"({"regimes": [{"name": "a", "$schema": "s.json"}, {"name": "b", "seed": 2}]})") ==
        std::vector<std::string>{"$.regimes[0].$schema: is a key of the whole document; regimes do not differ in it",
                                 "$.regimes[1].seed: is a key of the whole document; regimes do not differ in it"});
}

TEST_CASE("the betas of AdamW are two numbers below 1, also in single precision") {
  const auto problem = [](const char* betas) {
    const auto problems =
        problems_of(fmt::format(R"({{"optimizer": {{"type": "adamw", "betas": {}}}}})", betas).c_str());
    return problems.empty() ? "" : problems.at(0);
  };
  CHECK(problem("[0, 0.5]") == "");
  CHECK(problem("[0.5]") == "$.optimizer.betas: must have 2 entries, has 1");
  CHECK(problem("[0.5, 1]") == "$.optimizer.betas[1]: must be below 1, got 1");
  CHECK(problem("[0.5, 0.99999999]") ==
        "$.optimizer.betas[1]: must be below 1, got 0.99999999, which is 1 in single precision");
}

TEST_CASE("a regime is a patch over the base, and a new type drops the old type's keys") {
  const Experiment experiment = read_experiment(parse_config(R"({
    "seeds": [3, 5], "noise": {"type": "diagonal_fisher", "small_batch": 64}, "batch": {"size": 512, "ghost_size": 32},
    "regimes": [{"name": "LB+Diag"}, {"name": "LB", "noise": {"type": "none"}},
                {"name": "SB", "batch": {"size": 64}, "noise": {"type": "isotropic", "sigma": 0.5}}]})",
                                                             "test"),
                                                "test", {});
  REQUIRE(experiment.regimes.size() == 3);
  CHECK(experiment.seeds == std::vector<uint64_t>{3, 5});
  CHECK(experiment.regimes[0].noise.needs_second_moment());
  CHECK_FALSE(experiment.regimes[1].noise.active());
  CHECK(experiment.regimes[2].batch.size == 64);
  CHECK(experiment.regimes[2].batch.ghost_size == 32);
  CHECK(experiment.regimes[2].noise.options().type == "isotropic");
  // The effective document rebuilds the regime: it holds every default.
  const Regime& regime = experiment.regimes[0];
  const Experiment again = read_experiment(regime.effective, "effective", {});
  CHECK(again.regimes.at(0).effective == regime.effective);
}

TEST_CASE("precision is tf32 by default, and a regime may have its own") {
  const Experiment experiment = read_experiment(parse_config(R"({"precision": "half",
    "regimes": [{"name": "A"}, {"name": "B", "precision": "fp32"}, {"name": "C", "precision": null}]})",
                                                             "test"),
                                                "test", {});
  CHECK(experiment.regimes[0].precision == kernels::Precision::half);
  CHECK(experiment.regimes[1].precision == kernels::Precision::fp32);
  CHECK(experiment.regimes[2].precision == kernels::Precision::tf32);
  CHECK(any_mentions(problems_of(R"({"precision": "fp16"})"), "$.precision"));
}

TEST_CASE("options outside the paper's protocol are off by default") {
  const Regime regime = read_experiment(Json::object(), "test", {}).regimes.at(0);
  CHECK(regime.batch.changes.empty());
  CHECK(regime.scaling.factor(4096) == 1);
  CHECK(regime.effective.at("loss") == Json{{"type", "softmax_cross_entropy"}, {"label_smoothing", 0.0}});
  CHECK_FALSE(regime.clip_norm);
  CHECK(regime.effective.at("optimizer").at("nesterov") == false);
  CHECK(regime.schedule.type() == "constant");
  CHECK_FALSE(regime.weight_average);
  CHECK(regime.data.dataset.selection().holdout == 0);
}

TEST_CASE("seed on the command line replaces seeds of the file, and the reverse") {
  const noisysgd::test::TemporaryFolder folder;
  const auto seeds_with = [&](const char* text, const std::vector<std::string>& assignments) {
    const std::filesystem::path path = folder.path() / "config.json";
    write_file_atomically(path, text);
    return read_experiment_file(path.string(), assignments, {}).seeds;
  };
  using Seeds = std::vector<uint64_t>;
  CHECK(seeds_with(R"({"seed": 1})", {"seeds=[2, 3]"}) == Seeds{2, 3});
  CHECK(seeds_with(R"({"seeds": [1, 2]})", {"seed=4"}) == Seeds{4});
  CHECK(seeds_with(R"({"seeds": [1, 2]})", {"seeds[1]=7"}) == Seeds{1, 7});
  CHECK(seeds_with("{}", {"seed=4", "seeds=[5]"}) == Seeds{5});  // the later word counts
  CHECK_THROWS_AS(seeds_with(R"({"seed": 1, "seeds": [2]})", {}), ConfigError);
}

TEST_CASE("regimes are evaluated on the same kind of images") {
  CHECK(any_mentions(problems_of(R"({"regimes": [{"name": "A"}, {"name": "B", "data": {"holdout": 5}}]})"),
                     "data.holdout: regime \"A\" is evaluated on test images and \"B\" on holdout images"));
  CHECK(problems_of(R"({"regimes": [{"name": "A"}, {"name": "B"}], "data": {"holdout": 5}})").empty());
}

TEST_CASE("a mistake in the base is reported once, one that some regimes share with their names") {
  CHECK(problems_of(R"({"epochs": 0, "noise": {"scale": 2}, "regimes": [{"name": "SB"}, {"name": "LB"},
    {"name": "LB+Diag", "batch": {"size": 512}, "noise": {"type": "diagonal_fisher"}}]})") ==
        std::vector<std::string>{"$.epochs: must be at least 1, got 0",
                                 "regimes \"SB\", \"LB\": $.noise.scale: unknown key; known: \"type\""});
}

TEST_CASE("an override says how to set one regime if some cannot take the value or all have their own") {
  const noisysgd::test::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "config.json";
  write_file_atomically(path, R"({"regimes": [{"name": "SB", "batch": {"size": 128}},
    {"name": "LB+Diag", "batch": {"size": 512}, "optimizer": {"momentum": 0.5}, "noise": {"type": "diagonal_fisher"}}]})");
  const auto read = [&](const std::vector<std::string>& assignments) {
    return read_experiment_file(path.string(), assignments, {});
  };
  const auto problem = [&](const std::string& assignment) {
    return noisysgd::test::error_of([&] { read({assignment}); });
  };
  CHECK(noisysgd::test::contains(
      problem("noise.position=after_momentum"),
      "regime \"SB\": $.noise.position: unknown key; known: \"type\"; for one regime alone: --set "
      "\"regimes[LB+Diag].noise.position=after_momentum\""));
  CHECK_FALSE(noisysgd::test::contains(problem("epochs=0"), "alone"));
  // A value that is wrong is wrong in every regime.
  CHECK(noisysgd::test::contains(problem("noise.scale=-1"),
                                 "regime \"LB+Diag\": $.noise.scale: must be at least 0, got -1"));
  CHECK_FALSE(noisysgd::test::contains(problem("noise.scale=-1"), "regimes[SB]"));
  CHECK(noisysgd::test::contains(problem("SB.epochs=3"),
                                 "$.SB: unknown key; a value of this regime is regimes[SB].PATH"));

  const Experiment one = read({"regimes[LB+Diag].noise.position=after_momentum"});
  CHECK(one.regimes[1].noise.options().after_momentum);
  CHECK(one.notes.empty());

  CHECK(problem("batch.size=64") ==
        "override \"batch.size=64\": changes nothing, every regime sets its own; for one regime alone: --set "
        "\"regimes[SB].batch.size=64\"");
  const Experiment some = read({"optimizer.momentum=0", "epochs=3", "seed=2", "budget=0.5", "name=x"});
  CHECK(some.regimes[0].effective.at("optimizer").at("momentum") == 0);
  CHECK(some.regimes[1].effective.at("optimizer").at("momentum") == 0.5);
  CHECK(some.notes ==
        std::vector<std::string>{"--set optimizer.momentum=0: does not change \"LB+Diag\", which sets its own"});
  CHECK(read({"seeds=[1, 2]", "$.seed=3"}).seeds == std::vector<uint64_t>{3});
  CHECK(noisysgd::test::contains(problem("name=2024"),
                                 "$.name: expected a text, got 2024; as a text: --set 'name=\"2024\"'"));
  CHECK(read({"name=\"2024\""}).name == "2024");

  write_file_atomically(path, R"({"regimes": [{"name": "M=20", "epochs": 1}, {"name": "a]b", "epochs": 1}]})");
  CHECK(read({"regimes[M=20].epochs=3"}).regimes[0].epochs == 3);
  CHECK(read({"regimes[\"a]b\"].epochs=3"}).regimes[1].epochs == 3);
  CHECK(noisysgd::test::contains(problem("epochs=3"), "--set \"regimes[M=20].epochs=3\""));
  write_file_atomically(path, R"({"regimes": [{"name": "a]b", "epochs": 1}]})");
  CHECK(noisysgd::test::contains(problem("epochs=3"), "--set 'regimes[\"a]b\"].epochs=3'"));
}

TEST_CASE("a name that cannot be a folder, or is a file of the runs, is refused with the reason") {
  const auto of_experiment = [](const std::string& name) { return problems_of(Json{{"name", name}}.dump().c_str()); };
  const auto of_regime = [](const std::string& name) {
    return problems_of(Json{{"regimes", {Json{{"name", name}}}}}.dump().c_str());
  };
  using Problems = std::vector<std::string>;
  CHECK(of_experiment("a\x1B[2J") ==
        Problems{"$.name: \"a\\u001b[2J\" cannot name a folder: it holds a control character"});
  CHECK(any_mentions(of_experiment(std::string("a\0b", 3)), "NUL"));
  CHECK(any_mentions(of_regime(std::string("a\0b", 3)), "it holds a control character"));
  CHECK(of_experiment(std::string(200, 'n')).empty());
  CHECK(any_mentions(of_experiment(std::string(201, 'n')), "it has more than 200 bytes"));
  for (const char* name :
       {"experiment.json", "config.json", "summary.json", "diverged.json", "metrics.jsonl", "table.txt", "table.json",
        "checkpoint.safetensors", "summary.json.tmp", "events.out.tfevents.1.host"})
    CHECK(any_mentions(of_regime(name), "begins the name of a file of the runs"));
  CHECK(any_mentions(of_regime("seed-1"), "it is the name of a seed's folder"));
  for (const char* name : {"seed-x", "seed-", "table", "tables.x", "LB+Diag", "M=20", "a,b", "[x]", "é 1"}) {
    CHECK(of_regime(name).empty());
    CHECK(of_experiment(name).empty());
  }
}

TEST_CASE("a learning rate that scaling takes out of single precision is refused before the run") {
  const auto schedule = [](const char* text) {
    return noisysgd::test::error_of(
        [&] { read_experiment(parse_config(text, "test"), "test", {}).regimes.at(0).batch_schedule(1000); });
  };
  CHECK(schedule(R"({"optimizer": {"learning_rate": 1e38, "scaling": {"type": "linear", "base_batch": 1}},
                     "batch": {"size": 100}})") ==
        "optimizer.scaling: the learning rate 1e+40 of batches of 100 is infinite in single precision");
  CHECK(schedule(R"({"optimizer": {"learning_rate": 1e-45, "scaling": {"type": "linear", "base_batch": 1000}},
                     "batch": {"size": 100}})")
            .find("is 0 in single precision") != std::string::npos);
  CHECK(schedule("{}") == "no error was thrown");
}

TEST_CASE("seeds have up to 63 bits, and regimes are limited in number and memory") {
  CHECK(read_experiment(parse_config(R"({"seed": 9223372036854775807})", "test"), "test", {}).seeds.at(0) ==
        9223372036854775807u);
  CHECK(any_mentions(problems_of(R"({"seeds": [9223372036854775808]})"), "$.seeds[0]"));
  Json document{{"regimes", Json::array()}};
  for (int i = 0; i < 1001; ++i) document["regimes"].push_back({{"name", std::to_string(i)}});
  CHECK(problems_of(document.dump().c_str()) ==
        std::vector<std::string>{"$.regimes: must have at most 1000 entries, has 1001"});
  document["regimes"].erase(document["regimes"].begin());
  document["comment"] = std::string(300'000, 'c');
  CHECK(any_mentions(problems_of(document.dump().c_str()), "take more than 256 MiB"));
}

TEST_CASE("mistakes of regimes and seeds name the regime") {
  CHECK(any_mentions(problems_of(R"({"regimes": [{"name": "A"}, {"name": "A"}]})"), "used twice"));
  CHECK(any_mentions(problems_of(R"({"regimes": [{"epochs": 2}]})"), "$.regimes[0]"));
  CHECK(any_mentions(problems_of(R"({"regimes": [{"name": "A/B"}]})"), "cannot name a folder"));
  CHECK(any_mentions(problems_of(R"({"regimes": [{"name": "B", "epochs": -1}]})"), "regime \"B\""));
  CHECK(any_mentions(problems_of(R"({"seed": 1, "seeds": [2]})"), "either seed or seeds"));
  CHECK(any_mentions(problems_of(R"({"seeds": [2, 2]})"), "twice"));
  for (const char* name : {R"({"name": ""})", R"({"name": "../x"})", R"({"name": ".x"})"})
    CHECK(any_mentions(problems_of(name), "cannot name a folder"));
}

TEST_CASE("each mistake of data.normalize is one problem") {
  const auto problems = [](const std::string& normalize) {
    return problems_of(("{\"data\": {\"normalize\": " + normalize + "}}").c_str());
  };
  const std::pair<const char*, const char*> mistakes[] = {
      {R"({"mean": [0.5, 0.5, 0.5]})", "$.data.normalize.std: missing"},
      {R"({"std": [0.5, 0.5, 0.5]})", "$.data.normalize.mean: missing"},
      {R"({"mean": 0.5, "std": [0.5, 0.5]})", "$.data.normalize.mean: expected a list"},
      {R"({"mean": [], "std": [0.5]})", "$.data.normalize.mean: must have "},
      {R"({"mean": [0.5, 0.5], "std": [0.5]})", "$.data.normalize.std: must have as many values as mean"}};
  for (const auto& [normalize, problem] : mistakes) {
    const std::vector<std::string> told = problems(normalize);
    INFO(normalize);
    REQUIRE(told.size() == 1);
    CHECK(told[0].starts_with(problem));
  }
  CHECK(problems(R"({"mean": [0.5], "std": [0.5]})").empty());
  CHECK(problems("null").empty());
}

TEST_CASE("misspelt keys of the whole document get the nearest one, with regimes and without") {
  for (const std::string& regimes : {std::string(), std::string(R"(, "regimes": [{"name": "a"}, {"name": "b"}])")}) {
    const auto problems = [&](const std::string& key) {
      return problems_of(("{\"" + key + "\": 1" + regimes + "}").c_str());
    };
    CHECK(problems("sede") == std::vector<std::string>{"$.sede: unknown key; did you mean \"seed\"?"});
    CHECK(problems("devise") == std::vector<std::string>{"$.devise: unknown key; did you mean \"device\"?"});
    CHECK(problems("tunning") == std::vector<std::string>{"$.tunning: unknown key; did you mean \"tuning\"?"});
    CHECK(any_mentions(problems("zzz"), "\"device\""));
  }
}

TEST_CASE("duplicate keys of a configuration are reported with all other problems") {
  const noisysgd::test::TemporaryFolder folder;
  const std::string path = (folder.path() / "config.json").string();
  write_file_atomically(path, R"({"epochs": 1, "epochs": 2, "epoch": 3, "regimes": [{"name": "A", "seed": 1}]})");
  const auto error = [&](const std::vector<std::string>& assignments) {
    return noisysgd::test::error_of([&] { read_experiment_file(path, assignments, {}); });
  };
  const std::string duplicate = "\n  $.epochs: duplicate key";
  CHECK(error({}).starts_with(path + ": 3 problems" + duplicate + "\n"));
  CHECK(noisysgd::test::contains(error({}), "\n  regime \"A\": $.epoch: unknown key; did you mean \"epochs\"?"));
  CHECK(noisysgd::test::contains(error({}), "\n  $.regimes[0].seed: is a key of the whole document"));
  CHECK(error({"regimes[B].epochs=1"}).starts_with(path + ": 2 problems" + duplicate + "\n  override "));
  write_file_atomically(path, R"({"epochs": 1, "epochs": 2})");
  CHECK(error({}) == path + ": 1 problem" + duplicate);
  CHECK(error({"batch.size=4"}) == path + ": 1 problem" + duplicate);
}
