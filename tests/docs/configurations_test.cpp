// docs/configuration.md names every key with the default that the program uses, and every configuration that is
// published reads and builds its network.
#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>

#include <noisysgd/apps/analysis/analysis.h>
#include <noisysgd/apps/experiment.h>
#include <noisysgd/apps/schema.h>
#include <noisysgd/apps/tuning.h>
#include <noisysgd/core/file.h>
#include "tests/catch.h"

using namespace noisysgd;

namespace {

const std::filesystem::path source = NSGD_SOURCE_DIR;

const std::string page() { return read_file(source / "docs/configuration.md"); }

struct Row {
  std::string default_text, meaning;
};

// The page's table rows by key; "`a.b`, `c`" is the two keys a.b and a.c.
std::map<std::string, Row> documented_keys() {
  const std::string text = page();
  const std::regex row(R"(\| ((?:`[a-z_.$]+`(?:, )?)+) \| [^|]* \| ([^|]*) \| ([^\n]*) \|\n)"), key("`([a-z_.$]+)`");
  std::map<std::string, Row> rows;
  for (std::sregex_iterator match(text.begin(), text.end(), row), end; match != end; ++match) {
    const std::string keys = (*match)[1];
    for (std::sregex_iterator name(keys.begin(), keys.end(), key); name != end; ++name)
      rows[(*name)[1]] = {(*match)[2], (*match)[3]};
  }
  return rows;
}

// What the schema says of keys: the default of each, as the page writes it, one for each alternative.
struct Keys {
  std::map<std::string, std::set<std::string>> values;
  std::set<std::string> objects, of_entries;  // of_entries: of the objects in lists

  void collect(const Json& object, const std::string& path) {
    const Json properties = object.value("properties", Json::object());
    const Json required = object.value("required", Json::array());
    if (object.contains("allOf")) {
      for (const Json& alternative : object["allOf"]) collect(alternative["then"], path);
      return;
    }
    for (const auto& [key, schema] : properties.items()) {
      if (!schema.is_object()) continue;  // another part of the schema has it
      const std::string inside = path.empty() ? key : path + "." + key;
      if (schema.contains("properties")) {
        objects.insert(inside);
        if (inside != "model") collect(schema, inside);
        continue;
      }
      const bool needed = std::find(required.begin(), required.end(), key) != required.end();
      values[inside].insert(schema.contains("default") ? "`" + schema["default"].dump() + "`"
                            : needed                   ? "required"
                                                       : "–");
      const Json items = schema.value("items", Json::object()).value("properties", Json::object());
      for (const auto& [entry, unused] : items.items())
        if (inside != "regimes") of_entries.insert(entry);
    }
  }
};

}  // namespace

TEST_CASE("the page of the configuration has the keys of the schema with their defaults") {
  const Json schema = experiment_schema({});
  Keys keys;
  keys.collect(schema, "");
  keys.collect(schema["definitions"]["whole"], "");
  CHECK(keys.values.size() > 70);
  const auto documented = documented_keys();
  for (const auto& [key, defaults] : keys.values) {
    INFO(key);
    const auto row = documented.find(key);
    REQUIRE(row != documented.end());
    CHECK(defaults.contains(row->second.default_text));
    for (const std::string& other : defaults)
      CHECK((other == row->second.default_text || row->second.meaning.find(other) != std::string::npos));
  }
  for (const auto& [key, row] : documented) {
    INFO(key << " is on the page, but not in the schema");
    const bool of_model = key == "model.weights" || key == "model.skip_weights" || key == "model.freeze";
    CHECK((keys.values.contains(key) || keys.objects.contains(key) || of_model));
  }
  const std::string text = page();
  CHECK(keys.of_entries.size() == 6);
  for (const std::string& key : keys.of_entries) CHECK(text.find("`" + key + "`") != std::string::npos);
}

TEST_CASE("the page of the configuration has the keys of every layer and network with their defaults") {
  const std::string text = page();
  const std::string models = text.substr(text.find("## Model"));
  const Json schema = experiment_schema({});
  for (const Json& alternative : schema["definitions"]["whole"]["properties"]["model"]["allOf"]) {
    const std::string type = alternative["if"]["properties"]["type"]["const"];
    INFO(type);
    std::smatch row;
    REQUIRE(std::regex_search(
        models, row, std::regex("\n\\| (?:`[a-z_0-9]+`, )*`" + type + "`(?:, `[a-z_0-9]+`)* \\| ([^|\n]*) \\|")));
    const std::string described = row[1];
    std::set<std::string> words{"resnet"};  // in backticks that are no keys
    for (const auto& [key, property] : alternative["then"]["properties"].items()) {
      words.insert(key);
      for (const Json& value : property.value("enum", Json::array())) words.insert(value.get<std::string>());
      if (key == "type") continue;
      const bool of_all = key == "weights" || key == "skip_weights" || key == "freeze";
      INFO(key);
      if (of_all) {
        const std::string shown = property.contains("default") ? "`" + property["default"].dump() + "`" : "–";
        CHECK(documented_keys().at("model." + key).default_text == shown);
        continue;
      }
      std::smatch found;
      REQUIRE(std::regex_search(described, found, std::regex("`" + key + "`(?: \\(([^()]*)\\))?")));
      const Json shown = Json::parse(found[1].str(), nullptr, false);  // discarded: words, say on what it depends
      if (property.contains("enum"))
        CHECK(found[1].str().starts_with("`" + property["default"].get<std::string>() + "`"));
      else if (property.value("default", Json()) != Json::array())
        CHECK((shown.is_discarded() ? Json() : shown) == property.value("default", Json()));
    }
    const std::regex word("`([a-z_]+)`");
    for (std::sregex_iterator match(described.begin(), described.end(), word), end; match != end; ++match)
      CHECK(words.contains((*match)[1]));
  }
}

TEST_CASE("the page of the configuration names every type that a configuration can choose") {
  const std::string text = page();
  const Extensions extensions;
  for (const auto& types : {extensions.layers.types(), extensions.noises.types(), extensions.datasets.types(),
                            extensions.schedules.types(), extensions.optimizers.types(), extensions.losses.types()})
    for (const std::string& type : types) {
      INFO(type);
      CHECK(text.find("`" + type + "`") != std::string::npos);
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
