// docs/configuration.md names every key with the default that the program uses, and every configuration that is
// published reads and builds its network.
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>

#include <noisysgd/apps/analysis/analysis.h>
#include <noisysgd/apps/experiment.h>
#include <noisysgd/apps/tuning.h>
#include <noisysgd/core/file.h>
#include "tests/catch.h"

using namespace noisysgd;

namespace {

const std::filesystem::path source = NSGD_SOURCE_DIR;

// Key -> default of the page's table rows; "`a.b`, `c`" is the two keys a.b and a.c.
std::map<std::string, std::string> documented_defaults() {
  const std::string page = read_file(source / "docs/configuration.md");
  const std::regex row(R"(\| ((?:`[a-z_.]+`(?:, )?)+) \| [^|]* \| ([^|]*) \|)"), key("`([a-z_.]+)`");
  std::map<std::string, std::string> defaults;
  for (std::sregex_iterator match(page.begin(), page.end(), row), end; match != end; ++match) {
    const std::string keys = (*match)[1];
    for (std::sregex_iterator name(keys.begin(), keys.end(), key); name != end; ++name)
      defaults.emplace((*name)[1], (*match)[2]);
  }
  return defaults;
}

void collect(const Json& value, const std::string& path, std::map<std::string, Json>& leaves) {
  if (!value.is_object()) {
    leaves[path] = value;
    return;
  }
  for (const auto& [key, child] : value.items()) collect(child, path.empty() ? key : path + "." + key, leaves);
}

// Every key of the effective configuration of this document, with its value.
std::map<std::string, Json> effective_keys(const Json& document) {
  std::map<std::string, Json> leaves;
  Json effective = read_experiment(document, "test", {}).regimes.at(0).effective;
  effective.erase("model");
  collect(effective, "", leaves);
  return leaves;
}

}  // namespace

TEST_CASE("the page of the configuration names every key with its default") {
  const auto documented = documented_defaults();
  const Json documents = Json::parse(R"([
    {},
    {"data": {"type": "mnist"}},
    {"data": {"type": "image_folder"}},
    {"schedule": {"type": "step", "milestones": [1]}},
    {"schedule": {"type": "cosine"}},
    {"optimizer": {"scaling": {"type": "linear"}}},
    {"optimizer": {"type": "adamw", "learning_rate": 0.001, "weight_decay": 0.01}},
    {"noise": {"type": "isotropic", "sigma": 1}},
    {"noise": {"type": "diagonal_fisher"}},
    {"noise": {"type": "full_fisher"}},
    {"noise": {"type": "kfac"}},
    {"noise": {"type": "fisher_trace"}},
    {"noise": {"type": "multiplicative", "sigma": 1}},
    {"noise": {"type": "label"}}])");
  std::set<std::string> known{"name",  "device",  "threads", "seed",
                              "seeds", "regimes", "budget",  "columns",
                              "tune",  "tuning",  "tune.trials", "expect.test_accuracy"};
  const TuningOptions tuning;
  for (const auto& [key, value] : std::map<std::string, Json>{{"tuning.budget", tuning.budget},
                                                              {"tuning.seeds", tuning.seeds},
                                                              {"tuning.halving", tuning.halving}}) {
    known.insert(key);
    REQUIRE(documented.contains(key));
    CHECK(documented.at(key) == "`" + value.dump() + "`");
  }
  known.insert("tuning.holdout");
  for (const Json& document : documents) {
    std::map<std::string, Json> given;
    collect(document, "", given);
    for (const auto& [key, value] : effective_keys(document)) {
      INFO(key << " = " << value.dump());
      known.insert(key);
      REQUIRE(documented.contains(key));
      if (given.contains(key)) continue;
      CHECK(documented.at(key) == (value.is_null() ? "–" : "`" + value.dump() + "`"));
    }
  }
  for (const std::string key : {"data.normalize", "data.normalize.mean", "data.normalize.std", "data.height",
                                "model.weights", "model.skip_weights"})
    known.insert(key);
  for (const auto& [key, value] : documented) {
    INFO(key << " is on the page, but not in the program");
    CHECK((known.contains(key) || known.contains("data." + key)));
  }
}

TEST_CASE("the page of the configuration names every type that a configuration can choose") {
  const std::string page = read_file(source / "docs/configuration.md");
  const Extensions extensions;
  for (const auto& types : {extensions.layers.types(), extensions.noises.types(), extensions.datasets.types(),
                            extensions.schedules.types(), extensions.optimizers.types(), extensions.losses.types()})
    for (const std::string& type : types) {
      INFO(type);
      CHECK(page.find("`" + type + "`") != std::string::npos);
    }
}

TEST_CASE("every published configuration reads, and its networks fit its images") {
  const std::map<std::string, Shape> images{
      {"mnist", {28, 28, 1}}, {"fashion_mnist", {28, 28, 1}}, {"cifar10", {32, 32, 3}}, {"cifar100", {32, 32, 3}}};
  int count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(source / "apps/configs")) {
    if (entry.path().extension() != ".json") continue;
    INFO(entry.path().string());
    const Json document = parse_config_file(entry.path().string());
    if (document.contains("analysis")) {
      const auto analysis = read_analysis(document, entry.path().string(), AnalysisRegistry::builtin(), {});
      CHECK(analysis.name == entry.path().stem().string());
      continue;
    }
    GivenDocument given = read_document(entry.path().string(), {});
    if (document.contains("tuning")) given.document = read_tuning(given, {}).first_document();
    const Experiment experiment = read_experiment(given, {});
    CHECK(experiment.name == entry.path().stem().string());
    for (const Regime& regime : experiment.regimes) {
      const std::string& type = regime.data.dataset.type();
      const bool colour = regime.effective.at("data").value("colour", false);
      const Shape synthetic = colour ? Shape{32, 32, 3} : Shape{28, 28, 1};
      const Shape input = type == "synthetic" ? synthetic : images.at(type);
      const int64_t classes = type == "cifar100" ? 100 : 10;
      CHECK(regime.build_network({}, input, classes)->output_shape() == Shape{classes});
    }
    ++count;
  }
  CHECK(count >= 14);
}
