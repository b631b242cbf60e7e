// Figures as CSV and JSON.
#include <noisysgd/apps/analysis/figure.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <noisysgd/core/json.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

constexpr std::array style_names{std::pair{SeriesStyle::line, "line"},
                                 std::pair{SeriesStyle::dashed, "dashed"},
                                 std::pair{SeriesStyle::path, "path"},
                                 std::pair{SeriesStyle::points, "points"},
                                 std::pair{SeriesStyle::marker, "marker"},
                                 std::pair{SeriesStyle::closed, "closed"},
                                 std::pair{SeriesStyle::closed_dashed, "closed_dashed"}};

std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + "\"";
}

Json numbers(const std::vector<double>& values) {
  Json list = Json::array();
  for (const double value : values) list.push_back(std::isfinite(value) ? Json(value) : Json(nullptr));
  return list;
}

Json axis_json(const Axis& axis) {
  Json json{{"label", axis.label}, {"unit", axis.unit}, {"logarithmic", axis.logarithmic}};
  if (axis.range) json["range"] = {axis.range->first, axis.range->second};
  if (!axis.names.empty()) json["names"] = axis.names;
  return json;
}

Axis axis_of(const Json& json) {
  Axis axis{json.at("label"), json.at("unit"), json.at("logarithmic")};
  if (json.contains("names")) axis.names = json["names"].get<std::vector<std::string>>();
  if (json.contains("range")) axis.range = {json["range"].at(0).get<double>(), json["range"].at(1).get<double>()};
  return axis;
}

std::vector<double> numbers_of(const Json& list) {
  std::vector<double> values;
  for (const Json& value : list)
    values.push_back(value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
  return values;
}

}  // namespace

std::string figure_csv(const Figure& figure) {
  std::string csv = "panel,series,x,y,low,high\n";
  for (size_t p = 0; p < figure.panels.size(); ++p) {
    const Panel& panel = figure.panels[p];
    const std::string name = panel.title.empty() ? panel.y.label : panel.title;
    const std::string title = csv_text(name.empty() ? fmt::format("{}", p + 1) : name);
    for (const Series& series : panel.series) {
      const std::string text =
          csv_text(series.detail.empty() ? series.name : fmt::format("{} ({})", series.name, series.detail));
      for (size_t i = 0; i < series.x.size(); ++i) {
        csv += fmt::format("{},{},{},{},", title, text, series.x[i], series.y[i]);
        csv += series.low.empty() ? ",\n" : fmt::format("{},{}\n", series.low[i], series.high[i]);
      }
    }
  }
  return csv;
}

Json figure_json(const Figure& figure) {
  Json panels = Json::array();
  for (const Panel& panel : figure.panels) {
    Json list = Json::array();
    for (const Series& series : panel.series) {
      const auto style = std::find_if(style_names.begin(), style_names.end(),
                                      [&](const auto& entry) { return entry.first == series.style; });
      Json json{{"name", series.name}, {"style", style->second}};
      if (series.colour) json["colour"] = *series.colour;
      if (!series.detail.empty()) json["detail"] = series.detail;
      json["x"] = numbers(series.x);
      json["y"] = numbers(series.y);
      if (!series.low.empty()) {
        json["low"] = numbers(series.low);
        json["high"] = numbers(series.high);
      }
      list.push_back(std::move(json));
    }
    panels.push_back({{"title", panel.title},
                      {"x", axis_json(panel.x)},
                      {"y", axis_json(panel.y)},
                      {"equal_scales", panel.equal_scales},
                      {"series", std::move(list)}});
  }
  return {{"title", figure.title},
          {"columns", figure.columns},
          {"small_panels", figure.small_panels},
          {"legend", figure.legend},
          {"panels", std::move(panels)}};
}

Figure figure_from_json(const Json& json, const std::string& origin) {
  Figure figure;
  try {
    figure = {json.at("title"), {}, json.at("columns"), json.at("small_panels"), json.at("legend")};
    for (const Json& p : json.at("panels")) {
      Panel panel{p.at("title"), axis_of(p.at("x")), axis_of(p.at("y")), {}, p.at("equal_scales")};
      for (const Json& s : p.at("series")) {
        const std::string name = s.at("style");
        const auto style = std::find_if(style_names.begin(), style_names.end(),
                                        [&](const auto& entry) { return entry.second == name; });
        NSGD_CHECK(style != style_names.end(), "{}: \"{}\" is no style of a series", origin, name);
        Series series{s.at("name"), numbers_of(s.at("x")), numbers_of(s.at("y"))};
        series.style = style->first;
        if (s.contains("colour")) series.colour = s["colour"].get<int>();
        series.detail = s.value("detail", "");
        if (s.contains("low")) {
          series.low = numbers_of(s["low"]);
          series.high = numbers_of(s.at("high"));
        }
        panel.series.push_back(std::move(series));
      }
      figure.panels.push_back(std::move(panel));
    }
  } catch (const Json::exception& error) {
    throw Error(fmt::format("{}: is not a figure: {}", origin, error.what()));
  }
  check_figure(figure);
  return figure;
}

}  // namespace noisysgd
