// docs/analysis.md names every key of every analysis with the default that the program uses, and no other.
#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <string>

#include <noisysgd/apps/analysis/analysis.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include "tests/catch.h"

using namespace noisysgd;

namespace {

std::string page() { return read_file(std::filesystem::path(NSGD_SOURCE_DIR) / "docs/analysis.md"); }

// The part of the page from a heading to the next of the same or a higher level.
std::string section(const std::string& text, const std::string& heading) {
  const size_t begin = text.find("\n" + heading);
  REQUIRE(begin != std::string::npos);
  const std::string level = heading.substr(0, heading.find(' ') + 1);
  return text.substr(begin, std::min(text.find("\n" + level, begin + 1), text.find("\n## ", begin + 1)) - begin);
}

// The parts of a cell between commas that are outside brackets.
std::vector<std::string> parts_of(const std::string& cell) {
  std::vector<std::string> parts{""};
  int depth = 0;
  for (const char c : cell) {
    depth += (c == '[') - (c == ']');
    if (c == ',' && depth == 0)
      parts.emplace_back();
    else if (c != ' ' || depth > 0 || !parts.back().empty())
      parts.back() += c;
  }
  return parts;
}

std::string without_backticks(const std::string& text) {
  return text.starts_with('`') && text.ends_with('`') ? text.substr(1, text.size() - 2) : text;
}

// The defaults by key, as the tables write them, in a row "| `a`, `b` | `1`, `2` | … |".
std::map<std::string, std::string> rows_of(const std::string& text) {
  std::map<std::string, std::string> rows;
  const std::regex row(R"(\n\| (`[a-z_.]+`(?:, `[a-z_.]+`)*) \| ([^|]*) \| [^\n]*\|)");
  for (std::sregex_iterator match(text.begin(), text.end(), row), end; match != end; ++match) {
    const std::vector<std::string> keys = parts_of((*match)[1]), defaults = parts_of((*match)[2]);
    REQUIRE(keys.size() == defaults.size());
    for (size_t i = 0; i < keys.size(); ++i) rows[without_backticks(keys[i])] = defaults[i];
  }
  return rows;
}

// The schemas of an object's keys, by their paths in it; a key that decides about others is one.
void collect(const Json& object, const std::string& path, std::map<std::string, Json>& keys) {
  const Json required = object.value("required", Json::array());
  const Json properties = object.value("properties", Json::object());
  for (const auto& [key, schema] : properties.items()) {
    const bool decides = schema.contains("allOf");
    if (schema.contains("properties") && !decides) {
      collect(schema, path + key + ".", keys);
      continue;
    }
    Json& entry = keys[path + key] = schema;
    entry["needed"] = std::find(required.begin(), required.end(), key) != required.end();
  }
}

void check_default(const std::string& shown, const Json& schema) {
  if (schema.at("needed") == true) {
    CHECK(shown == "*required*");
  } else if (!shown.starts_with('`')) {  // "–", or in words what it is
    CHECK(schema.value("default", Json("")) == "");
  } else {
    const Json value = Json::parse(without_backticks(shown), nullptr, false);
    INFO(schema.value("default", Json()).dump());
    CHECK(value == schema.value("default", Json()));
  }
}

}  // namespace

TEST_CASE("the page of analyses has the keys of every type in the schema with their defaults") {
  const std::string text = page();
  const Json schema = analysis_schema(AnalysisRegistry::builtin(), {});
  size_t types = 0;
  for (const char* part : {"then", "else"}) {  // of types with an experiment, and of those without
    const bool of_network = std::string(part) == "then";
    const std::string shared =
        of_network ? section(text, "## Analyses of networks") : section(text, "## The configuration");
    const auto shared_rows = rows_of(shared.substr(0, shared.find("\n### ")));
    for (const Json& alternative : schema[part]["properties"]["analysis"]["allOf"]) {
      const std::string type = alternative["if"]["properties"]["type"]["const"];
      INFO(type);
      ++types;
      std::map<std::string, Json> keys;
      collect(alternative["then"], "", keys);
      keys.erase("type");
      const auto rows = rows_of(section(text, "### `" + type + "`"));
      for (const auto& [key, own] : keys) {
        INFO(key);
        const bool given_by_one_of_two = key == "matrix" || key == "spectrum";
        if (!of_network && given_by_one_of_two) {
          CHECK(shared.find("\n| `" + key + "` |") != std::string::npos);
          continue;
        }
        const bool is_shared = !rows.contains(key) && of_network && shared_rows.contains(key);
        REQUIRE((is_shared || rows.contains(key)));
        check_default(is_shared ? shared_rows.at(key) : rows.at(key), own);
      }
      for (const auto& [key, unused] : rows) {
        INFO(key << " is on the page, but not in the schema");
        CHECK(keys.contains(key));
      }
    }
  }
  CHECK(types == AnalysisRegistry::builtin().types().size());
}

TEST_CASE("the page of analyses has the keys of every spectrum") {
  const std::string text = section(page(), "## The configuration");
  const Json schema = analysis_schema(AnalysisRegistry::builtin(), {});
  size_t keys = 0;
  for (const Json& alternative : schema["else"]["properties"]["analysis"]["allOf"]) {
    const Json properties = alternative["then"]["properties"];
    if (!properties.contains("spectrum")) continue;
    for (const Json& kind : properties["spectrum"]["allOf"])
      for (const auto& [key, unused] : kind["then"]["properties"].items()) {
        INFO(key);
        CHECK(text.find("\"" + key + "\":") != std::string::npos);
        ++keys;
      }
  }
  CHECK(keys > 20);
}
