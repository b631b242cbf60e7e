// Experiments whose regimes are the points of a search: a value for each of some paths of the configuration.
#pragma once

#include <string>
#include <vector>

#include <noisysgd/core/json.h>

namespace noisysgd {

inline constexpr size_t most_points = 1000;  // of one regime

struct Setting {
  std::string path;  // as --set takes it
  Json value;        // a number, a text, true or false

  bool operator==(const Setting&) const = default;
};
using Point = std::vector<Setting>;

// A path and the values to try for it.
struct SearchAxis {
  std::string path;
  std::vector<Json> values;
};

// All combinations; the last axis changes fastest. Throws Error if there are more than most_points.
std::vector<Point> product_of(const std::vector<SearchAxis>& axes);

void add_once(std::vector<std::string>& paths, const std::string& path);  // if it is not there yet
std::string value_text(const Json& value);                              // 0.1, adamw, true
// "LB,0.1,2"; without a regime "0.1,2". It names a folder: in a text, '/' and a dot at the beginning become '_'.
std::string point_name(const std::string& regime, const Point& point);
// The last key of each path, or the whole path where that is not unique.
std::vector<std::string> column_titles(const std::vector<std::string>& paths);

// The configuration of an experiment, taken apart.
struct NamedDocument {
  std::string name;
  Json document;
};
struct SplitDocument {
  Json head = Json::object();          // the keys of the whole experiment, without "regimes"
  std::vector<NamedDocument> regimes;  // merged over the base; one without a name if the experiment has no regimes

  Json joined() const;
};
// Throws ConfigError if the regimes are not a list of objects with names of their own.
SplitDocument split(const Json& document, const std::string& origin);

// The document of a regime with the values of a point. Throws ConfigError as apply_override.
Json with_values(const Json& regime, const Point& point);

// --grid: an experiment with a regime for each point of each regime, and a table with the values. grids: PATH=A,B,…;
// a path regimes[NAME].PATH concerns one regime only. Throws ConfigError.
Json grid_of(const Json& document, const std::string& origin, const std::vector<std::string>& grids);

}  // namespace noisysgd
