#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>

#include <noisysgd/apps/report/sections.h>

namespace noisysgd {
namespace {

using html::Html;

using Values = std::vector<std::pair<std::string, std::string>>;  // path of a key, value as JSON; in order

std::string json_text(const Json& value, int indent = -1) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

void flatten(const Json& value, const std::string& path, Values& values) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, inner] : value.items()) flatten(inner, path.empty() ? key : path + "." + key, values);
  } else {
    values.push_back({path, json_text(value)});
  }
}

// One row per key that not all groups have with one value.
html::Table differences(const std::vector<RunGroup>& groups) {
  std::vector<std::string> header{"key"}, keys;
  std::vector<std::map<std::string, std::string>> of_group;
  for (const RunGroup& group : groups) {
    header.push_back(group.label);
    Values values;
    flatten(group.runs[0].config, "", values);
    for (const auto& [key, value] : values)
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
    of_group.emplace_back(values.begin(), values.end());
  }
  html::Table table(header);
  for (const std::string& key : keys) {
    std::vector<std::string> row{key};
    for (const auto& values : of_group) row.push_back(values.contains(key) ? values.at(key) : "–");
    if (std::adjacent_find(row.begin() + 1, row.end(), std::not_equal_to<>()) != row.end()) table.add_row(row);
  }
  return table;
}

}  // namespace

Html configuration_section(const std::vector<RunGroup>& groups) {
  if (groups.empty()) return {};
  Html section = html::element("h2", "Configuration");
  if (groups.size() > 1) {
    const html::Table table = differences(groups);
    section += table.empty() ? html::element("p", "The configurations are equal.")
                             : html::element("p", "The keys that differ:") + table.html(true);
  }
  for (const RunGroup& group : groups)
    section += html::details("Whole configuration of " + group.label,
                             html::element("pre", json_text(group.runs[0].config, 2)));
  return section;
}

}  // namespace noisysgd
