// Figures of analyses: a value that holds all numbers, written as CSV and JSON and drawn by gnuplot. Colours, fonts,
// sizes and legends of every picture of the project are decided in figure.cpp.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <noisysgd/core/json_fwd.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {

struct Axis {
  std::string label;
  std::string unit = {};  // shown in parentheses after the label; empty: none
  bool logarithmic = false;
  std::optional<std::pair<double, double>> range = {};  // none: covers the data
  std::vector<std::string> names = {};  // texts of the ticks 1, 2, …, for categories; empty: numbers

  bool operator==(const Axis&) const = default;
};

enum class SeriesStyle {
  line,
  dashed,
  path,    // a line with a point at every value, for trajectories
  points,  // many small points, half transparent
  marker,  // few large points
  closed,  // a curve whose last point is joined to its first, for ellipses
  closed_dashed,
};

// Points (x, y) in the order of drawing. Series of one name have one colour and one line in the legend, in all panels.
// A series without a name is background: thin, grey and not in the legend. A value that is not finite leaves a gap.
struct Series {
  std::string name;
  std::vector<double> x, y;
  std::vector<double> low = {}, high = {};  // band around y, such as one standard deviation over seeds; empty: none
  SeriesStyle style = SeriesStyle::line;
  std::optional<int> colour = {};  // index into the palette of 7 colours; none: by the order of the names
  std::string detail = {};         // tells series of one name apart in the CSV, as in "bound (full)"; not drawn

  bool operator==(const Series&) const = default;
};

struct Panel {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
  bool equal_scales = false;  // one unit is as long on both axes; needs ranges

  bool operator==(const Panel&) const = default;
};

struct Figure {
  std::string title;
  std::vector<Panel> panels;  // row by row
  int columns = 1;  // of panels; the width is that of a paper's column (3.3 in) for 1 and of its page for more
  bool small_panels = false;  // all columns of panels in the width of one column of the paper
  bool legend = true;

  bool operator==(const Figure&) const = default;
};

// Throws Error unless all lists of a series have one length, and for a figure without panels.
void check_figure(const Figure& figure);

// One row "panel,series,x,y,low,high" for each point, numbers in the shortest form that reads back equal. A panel
// without a title is named by the label of its y axis.
std::string figure_csv(const Figure& figure);
// Numbers that are not finite are null, and read back as NaN. figure_from_json throws Error that begins with `origin`.
Json figure_json(const Figure& figure);
Figure figure_from_json(const Json& json, const std::string& origin);

enum class PictureFormat { svg, png };

class DrawingError : public Error {
 public:
  using Error::Error;
};
// The bytes of a picture. Nothing if gnuplot is not installed. Throws DrawingError if gnuplot fails.
std::optional<std::string> draw_figure(const Figure& figure, PictureFormat format);
// What to tell the user where draw_figure gives nothing.
extern const char* const gnuplot_missing;

// Writes NAME.csv, NAME.json, NAME.svg and NAME.png into the folder. False if gnuplot is not installed: the numbers are
// written then, the pictures are not. Throws DrawingError, after the numbers are written, if gnuplot fails. No picture of
// other numbers stays.
bool write_figure(const Figure& figure, const std::filesystem::path& folder, const std::string& name);

// The covariance ellipse at `deviations` standard deviations around a centre, as a closed series.
struct Covariance2d {
  double xx = 0, xy = 0, yy = 0;
};
Series ellipse(std::string name, std::pair<double, double> centre, const Covariance2d& covariance,
               double deviations = 2);

}  // namespace noisysgd
