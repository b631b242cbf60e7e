#include <noisysgd/apps/search.h>

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include <noisysgd/apps/experiment.h>
#include <noisysgd/core/config_path.h>
#include <noisysgd/core/suggest.h>

namespace noisysgd {

namespace {

std::string last_key(const std::string& path) { return path.substr(path.find_last_of('.') + 1); }

// The values between the commas of a grid; a text in quotation marks may contain commas. Each is JSON or a bare word.
std::vector<Json> grid_values(std::string_view text, const std::string& grid) {
  std::vector<Json> values;
  bool quoted = false;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '"' && (i == 0 || text[i - 1] != '\\')) quoted = !quoted;
    if (i < text.size() && (text[i] != ',' || quoted)) continue;
    const std::string_view part = text.substr(begin, i - begin);
    begin = i + 1;
    if (part.empty()) throw ConfigError(fmt::format("--grid {}: has an empty value", grid));
    Json holder = Json::object();
    apply_override(holder, fmt::format("value={}", part));
    if (holder["value"].is_structured() || holder["value"].is_null())
      throw ConfigError(fmt::format("--grid {}: {} is no number, text, true or false", grid, part));
    if (std::find(values.begin(), values.end(), holder["value"]) != values.end())
      throw ConfigError(fmt::format("--grid {}: has {} twice", grid, part));
    values.push_back(holder["value"]);
  }
  return values;
}

struct GridAxis {
  std::optional<std::string> regime;  // none: all
  SearchAxis axis;
};

// What is wrong with a path that names no regime.
std::string regime_hint(const std::string& path, const SplitDocument& split) {
  std::vector<std::string> names;
  for (const NamedDocument& regime : split.regimes)
    if (!regime.name.empty()) names.push_back(regime.name);
  if (names.empty()) return "the configuration has no regimes";
  const size_t open = path.find('['), close = path.find(']');
  const bool named = open != path.npos && close != path.npos && open < close;
  const std::string name = named ? path.substr(open + 1, close - open - 1) : "";
  const std::string nearest = nearest_name(name, names);
  return nearest.empty()
             ? fmt::format("there is no such regime; expected regimes[NAME].PATH with one of {}", quoted_list(names))
             : fmt::format("there is no such regime; did you mean \"{}\"?", nearest);
}

GridAxis read_grid(const std::string& grid, const SplitDocument& split) {
  std::string path, values;
  try {
    const Assignment assignment = split_assignment(grid);
    path = assignment.path;
    values = assignment.value;
  } catch (const ConfigError&) {
    throw ConfigError(fmt::format("--grid {}: expected PATH=A,B,…", grid));
  }
  if (path.starts_with("$.")) path.erase(0, 2);
  GridAxis result{{}, {path, grid_values(values, grid)}};
  for (const NamedDocument& regime : split.regimes)
    if (!regime.name.empty() && path.starts_with(regime.name + "."))
      throw ConfigError(fmt::format(
          "--grid {}: a value of this regime is {}", grid,
          shell_quoted(fmt::format("regimes[{}]{}", bracketed_name(regime.name), path.substr(regime.name.size())))));
  if (!path.starts_with("regimes")) return result;
  for (size_t i = 0; i < split.regimes.size(); ++i) {
    const std::string& name = split.regimes[i].name;
    for (const std::string& inside : {bracketed_name(name), Json(name).dump(), std::to_string(i)}) {
      const std::string prefix = fmt::format("regimes[{}].", inside);
      if (name.empty() || !path.starts_with(prefix)) continue;
      result.regime = name;
      result.axis.path = path.substr(prefix.size());
      return result;
    }
  }
  throw ConfigError(fmt::format("--grid {}: {}", grid, regime_hint(path, split)));
}

}  // namespace

std::vector<Point> product_of(const std::vector<SearchAxis>& axes) {
  double count = 1;
  for (const SearchAxis& axis : axes) count *= static_cast<double>(axis.values.size());
  NSGD_CHECK(count <= static_cast<double>(most_points), "{} combinations of values, at most {} are possible", count,
             most_points);
  std::vector<Point> points(1);
  for (const SearchAxis& axis : axes) {
    std::vector<Point> longer;
    for (const Point& point : points)
      for (const Json& value : axis.values) {
        longer.push_back(point);
        longer.back().push_back({axis.path, value});
      }
    points = std::move(longer);
  }
  return points;
}

void add_once(std::vector<std::string>& paths, const std::string& path) {
  if (std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
}

std::string value_text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

std::string point_name(const std::string& regime, const Point& point) {
  std::string name = regime;
  for (const Setting& setting : point) {
    std::string text = value_text(setting.value);
    std::ranges::replace(text, '/', '_');
    if (text.starts_with('.')) text.front() = '_';
    name += (name.empty() ? "" : ",") + text;
  }
  return name;
}

std::vector<std::string> column_titles(const std::vector<std::string>& paths) {
  std::vector<std::string> titles;
  for (const std::string& path : paths) {
    const bool unique = std::count_if(paths.begin(), paths.end(),
                                      [&](const std::string& other) { return last_key(other) == last_key(path); }) == 1;
    titles.push_back(unique ? last_key(path) : path);
  }
  return titles;
}

Json SplitDocument::joined() const {
  Json document = head;
  if (regimes.size() == 1 && regimes[0].name.empty()) {
    document.update(regimes[0].document);
    return document;
  }
  document["regimes"] = Json::array();
  for (const auto& [name, regime] : regimes) {
    Json entry{{"name", name}};
    entry.update(regime);
    document["regimes"].push_back(std::move(entry));
  }
  return document;
}

SplitDocument split(const Json& document, const std::string& origin) {
  if (!document.is_object()) throw ConfigError(origin, {"$: a configuration is an object {…}"});
  SplitDocument result;
  Json base = Json::object(), regimes = Json::array();
  for (const auto& [key, value] : document.items()) {
    if (key == "regimes")
      regimes = value;
    else
      (is_experiment_key(key) ? result.head : base)[key] = value;
  }
  const ConfigError malformed(origin, {"$.regimes: must be a list of objects, each with a \"name\" of its own"});
  if (!regimes.is_array() || regimes.size() > most_points) throw malformed;
  std::set<std::string> names;
  for (Json& patch : regimes) {
    const bool named = patch.is_object() && patch.contains("name") && patch["name"].is_string();
    if (!named || patch["name"] == "" || !names.insert(patch["name"].get<std::string>()).second) throw malformed;
    const std::string name = patch["name"];
    patch.erase("name");
    result.regimes.push_back({name, merge_config(base, patch)});
  }
  if (regimes.empty()) result.regimes.push_back({"", base});
  return result;
}

Json with_values(const Json& regime, const Point& point) {
  Json document = regime;
  for (const Setting& setting : point)
    apply_override(document, fmt::format("{}={}", setting.path, setting.value.dump()));
  for (const Setting& setting : point)  // $.momentum and momentum are one key
    if (const Json* value = find_value(document, setting.path); value && *value != setting.value)
      throw ConfigError(fmt::format("\"{}\": another path sets the same key", setting.path));
  return document;
}

Json grid_of(const Json& document, const std::string& origin, const std::vector<std::string>& grids) {
  const SplitDocument given = split(document, origin);
  std::vector<GridAxis> axes;
  SplitDocument result{given.head, {}};
  std::vector<std::string> columns;
  for (const std::string& grid : grids) {
    axes.push_back(read_grid(grid, given));
    const auto& [regime, axis] = axes.back();
    for (size_t i = 0; i + 1 < axes.size(); ++i)
      if (axes[i].axis.path == axis.path && (!regime || !axes[i].regime || regime == axes[i].regime))
        throw ConfigError(fmt::format("--grid {}: another --grid has values of {}", grid, axis.path));
    add_once(columns, axis.path);
  }
  result.head["columns"] = columns;
  for (const auto& [name, regime] : given.regimes) {
    std::vector<SearchAxis> own;
    for (const GridAxis& axis : axes)
      if (!axis.regime || axis.regime == name) own.push_back(axis.axis);
    try {
      for (const Point& point : product_of(own))
        result.regimes.push_back({point_name(name, point), with_values(regime, point)});
    } catch (const ConfigError&) {
      throw;
    } catch (const Error& error) {
      throw ConfigError(fmt::format("--grid: {}", error.what()));
    }
  }
  return result.joined();
}

}  // namespace noisysgd
