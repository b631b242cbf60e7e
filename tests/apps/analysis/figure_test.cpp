// Figures as numbers and as pictures.
#include <noisysgd/apps/analysis/figure.h>

#include <stdlib.h>

#include <cmath>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include "tests/apps/failing_gnuplot.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// Everything that a figure can have.
Figure whole_figure() {
  Figure figure{"It's a \"title\", with ‖F‖² and a \\ in it", {}, 2, true};
  Panel lines{"lines", {"update", "", true}, {"loss", "nats", true, std::pair{1e-3, 10.0}}, {}};
  lines.series = {{"LB+Diag, seed 1", {1, 10, 100}, {1.0 / 3, 1e-300, 0.2}, {0.1, 0, 0.1}, {1, 2, 3}},
                  {"SB \"a\"", {1, 2}, {2, 4}, {}, {}, SeriesStyle::dashed, 5},
                  {"", {1, 2}, {1, 1}}};
  Panel plane{"", {"θ₁", "", false, std::pair{-1.0, 1.0}}, {"θ₂", "", false, std::pair{-1.0, 1.0}}, {}, true};
  plane.series = {{"points", {0.1, 0.2}, {0.1, -0.3}, {}, {}, SeriesStyle::points},
                  {"path", {0, 0.5}, {0, 0.5}, {}, {}, SeriesStyle::path},
                  {"marker", {0}, {0}, {}, {}, SeriesStyle::marker},
                  ellipse("ellipse", {0, 0}, {0.1, 0.05, 0.1}),
                  {"other", {0, 1, 0}, {0, 0, 1}, {}, {}, SeriesStyle::closed_dashed}};
  figure.panels = {lines, plane};
  return figure;
}

class Path {  // PATH until the end of the scope
 public:
  explicit Path(const std::string& value) : old_(::getenv("PATH") ? ::getenv("PATH") : "") {
    ::setenv("PATH", value.c_str(), 1);
  }
  ~Path() { ::setenv("PATH", old_.c_str(), 1); }

 private:
  std::string old_;
};

}  // namespace

TEST_CASE("a figure survives its JSON with every number") {
  const Figure figure = whole_figure();
  const Figure back = figure_from_json(parse_json(figure_json(figure).dump(1), "test"), "test");
  CHECK(back == figure);

  Figure gap = figure;
  gap.panels[0].series[0].y[1] = not_a_number;
  const std::string text = figure_json(gap).dump();
  CHECK(contains(text, "null"));
  CHECK(std::isnan(figure_from_json(parse_json(text, "test"), "test").panels[0].series[0].y[1]));
}

TEST_CASE("a document that is no figure is refused by name") {
  CHECK(contains(error_of([] { figure_from_json(Json{{"title", "a"}}, "x.json"); }), "x.json: is not a figure"));
  Json json = figure_json(whole_figure());
  json["panels"][0]["series"][0]["style"] = "wavy";
  CHECK(error_of([&] { figure_from_json(json, "x.json"); }) == "x.json: \"wavy\" is no style of a series");
}

TEST_CASE("the CSV of a figure has a row for each point, which reads back equal") {
  std::istringstream csv(figure_csv(whole_figure()));
  std::string row;
  std::getline(csv, row);
  CHECK(row == "panel,series,x,y,low,high");
  std::getline(csv, row);
  const std::string start = "lines,\"LB+Diag, seed 1\",1,";
  REQUIRE(row.starts_with(start));
  CHECK(std::stod(row.substr(start.size())) == 1.0 / 3);
  CHECK(row.ends_with(",0.1,1"));
  std::getline(csv, row);
  CHECK(row == "lines,\"LB+Diag, seed 1\",10,1e-300,0,2");
  std::getline(csv, row);
  std::getline(csv, row);
  CHECK(row == "lines,\"SB \"\"a\"\"\",1,2,,");
  int rows = 4;
  while (std::getline(csv, row)) ++rows;
  CHECK(rows == 3 + 2 + 2 + 2 + 2 + 1 + 90 + 3);
}

TEST_CASE("a series whose lists differ in length, and a figure without panels, are refused") {
  Figure figure = whole_figure();
  figure.panels[0].series[0].low.pop_back();
  CHECK(contains(error_of([&] { check_figure(figure); }), "has 3 x, 3 y, 2 low and 3 high values"));
  CHECK(contains(error_of([] { check_figure({"empty", {}}); }), "has no panels"));
}

TEST_CASE("a figure is written as CSV, JSON, SVG and PNG") {
  const TemporaryFolder folder;
  REQUIRE(write_figure(whole_figure(), folder.path(), "figure"));
  CHECK(read_file(folder / "figure.csv") == figure_csv(whole_figure()));
  CHECK(figure_from_json(parse_json(read_file(folder / "figure.json"), "json"), "json") == whole_figure());
  const std::string svg = read_file(folder / "figure.svg"), png = read_file(folder / "figure.png");
  CHECK(svg.starts_with("<?xml"));
  CHECK(contains(svg, "</svg>"));
  for (const char* text : {", with ‖F‖² and a \\ in it", "LB+Diag, seed 1", "loss (nats)", "θ₁"})
    CHECK(contains(svg, text));
  CHECK(png.starts_with("\x89PNG\r\n"));
  CHECK(draw_figure(whole_figure(), PictureFormat::svg) == svg);  // the same bytes each time
}

TEST_CASE("text of a figure is no command to gnuplot") {
  const TemporaryFolder folder;
  const std::string target = (folder / "made").string();
  Figure figure = whole_figure();
  figure.title = "'\nsystem 'touch " + target + "'\n#";
  figure.panels[0].series[0].name = "`touch " + target + "` ' @x EOD";
  figure.panels[0].title = "ends with a backslash \\";
  const std::optional<std::string> svg = draw_figure(figure, PictureFormat::svg);
  REQUIRE(svg);
  CHECK(contains(*svg, "’ system ’touch "));
  CHECK(contains(*svg, "` ’ @x EOD"));
  CHECK(contains(*svg, "ends with a backslash \\"));
  CHECK_FALSE(std::filesystem::exists(target));
}

TEST_CASE("a figure without numbers to show is drawn empty") {
  Figure figure{"empty", {{"panel", {"x", "", true}, {"y", "", true}, {{"all NaN", {1, 2}, {not_a_number, -1}}}}}};
  CHECK(draw_figure(figure, PictureFormat::png).has_value());
  figure.panels[0].series.clear();
  CHECK(draw_figure(figure, PictureFormat::png).has_value());
  figure.panels[0].series = {{"one point", {1}, {2}}};
  CHECK(draw_figure(figure, PictureFormat::png).has_value());
}

TEST_CASE("values that agree to many digits, and values near the limits of numbers, are drawn") {
  for (const bool logarithmic : {false, true}) {
    Figure figure{"flat", {{"", {"x"}, {"y", "", logarithmic}, {{"s", {1, 2}, {0, 0}}}}}};
    for (const auto& y : std::vector<std::vector<double>>{
             {0.3, 0.3 * (1 + 1e-9)}, {0.3, 0.3 * (1 + 1e-15)}, {1e308, 1e-308}, {5e-324, 1}, {0, 0}, {1e-30, 2e-30}}) {
      figure.panels[0].series[0].y = y;
      CHECK(draw_figure(figure, PictureFormat::svg).has_value());
    }
  }
  Figure square{"square", {{"", {"x", "", false, std::pair{0.0, 0.0}}, {"y", "", false, std::pair{0.0, 1e-30}}, {}, true}}};
  square.panels[0].series = {{"s", {0, 0}, {0, 0}}};
  CHECK(draw_figure(square, PictureFormat::svg).has_value());
}

TEST_CASE("a name that is wider than the picture is shortened in the legend") {
  Figure figure = whole_figure();
  figure.panels[0].series[0].name = std::string(50, 'a') + "ööö" + std::string(50, 'b');
  const std::optional<std::string> svg = draw_figure(figure, PictureFormat::svg);
  REQUIRE(svg);
  CHECK(contains(*svg, "a…"));
  CHECK_FALSE(contains(*svg, "bbb"));
}

TEST_CASE("ticks of categories bear their names") {
  Figure figure{"", {{"", {"regime", "", false, std::pair{0.5, 2.5}, {"SB", "LB_x"}}, {"y"}, {{"s", {1, 2}, {3, 4}}}}}};
  const std::optional<std::string> svg = draw_figure(figure, PictureFormat::svg);
  REQUIRE(svg);
  CHECK(contains(*svg, "SB"));
  CHECK(contains(*svg, "LB_x"));
}

TEST_CASE("without gnuplot the numbers are written, and no picture of other numbers stays") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "figure.svg", "old");
  const Path nothing(folder.path().string());
  CHECK_FALSE(draw_figure(whole_figure(), PictureFormat::svg).has_value());
  CHECK_FALSE(write_figure(whole_figure(), folder.path(), "figure"));
  CHECK(std::filesystem::exists(folder / "figure.csv"));
  CHECK(std::filesystem::exists(folder / "figure.json"));
  CHECK_FALSE(std::filesystem::exists(folder / "figure.svg"));
  CHECK_FALSE(std::filesystem::exists(folder / "figure.png"));
}

TEST_CASE("an error of gnuplot is an error with its message") {
  const TemporaryFolder folder;
  write_failing_gnuplot(folder.path());
  const Path own(folder.path().string());
  CHECK(error_of([] { draw_figure(whole_figure(), PictureFormat::svg); }) ==
        "gnuplot: failed: line 3: no such terminal");
}
