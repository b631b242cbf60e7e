#include <noisysgd/apps/analysis/figure.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <system_error>

#include <noisysgd/apps/analysis/gnuplot.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/json.h>
#include <noisysgd/core/printable.h>

namespace noisysgd {
namespace {

// The style. Lengths are in points of 1/72 inch; a terminal multiplies them by its dots per point.
constexpr double column_width = 237.6, page_width = 486;  // 3.3 in and 6.75 in
constexpr double font_size = 8, tick_font_size = 7;
constexpr double png_dots_per_inch = 200, svg_dots_per_inch = 96;
constexpr double character_width = 4.3;  // of ticks and legend, on average
constexpr double title_height = 15, panel_title_height = 14, x_ticks_height = 11, label_height = 12, legend_line = 11;
constexpr double legend_sample = 14, legend_gap = 4;  // length of the sample line, and room to its text
constexpr double least_y_ticks_width = 26, right_margin = 9, height_of_width = 0.62;
// Okabe and Ito's colours, which people with any common colour blindness tell apart, without yellow, which is too pale
// on white.
constexpr std::array<unsigned, 7> palette{0x0072B2, 0xD55E00, 0x009E73, 0xE69F00, 0xCC79A7, 0x56B4E9, 0x000000};
constexpr unsigned background_colour = 0xB0B0B0;
constexpr std::array<int, 7> point_shapes{7,  5,  9, 13,
                                          11, 15, 7};  // filled: circle, square, triangles, diamond, pentagon

bool is_closed(SeriesStyle style) { return style == SeriesStyle::closed || style == SeriesStyle::closed_dashed; }

// A string of gnuplot in which nothing is a command. Apostrophes become typographic ones: gnuplot misreads an escaped
// one at the beginning of a string.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : printable(text)) {
    if (c == '\'')
      result += "’";
    else
      result += c == '\n' ? ' ' : c;
  }
  return result + "'";
}

// Of UTF-8: all bytes but those that continue a character.
size_t characters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string label_of(const Axis& axis) {
  return axis.unit.empty() ? axis.label : fmt::format("{} ({})", axis.label, axis.unit);
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
  double length() const { return high - low; }
};

// Values beyond 1e±300 would overflow with the margins.
bool drawable(double value, const Axis& axis) {
  return std::isfinite(value) && std::abs(value) < 1e300 && (!axis.logarithmic || value > 1e-300);
}

// Values that agree to 5 digits are shown as a flat line: ticks have 6 digits, and gnuplot refuses an empty range.
bool flat(const Range& range) {
  return !(range.length() > 1e-5 * std::max(std::abs(range.low), std::abs(range.high)));
}

// What the axis shows: what the figure names, or the data and a margin where `padded`.
Range shown(const Axis& axis, const std::vector<Series>& series, bool vertical, bool padded) {
  Range range;
  if (axis.range && !flat({axis.range->first, axis.range->second})) return {axis.range->first, axis.range->second};
  for (const Series& s : series)
    for (const auto* values : {vertical ? &s.y : &s.x, vertical ? &s.low : nullptr, vertical ? &s.high : nullptr})
      if (values)
        for (const double value : *values)
          if (drawable(value, axis)) range.add(value);
  if (range.empty()) return {axis.logarithmic ? 1 : 0.0, axis.logarithmic ? 10.0 : 1};
  const double margin = padded ? 0.05 : 0;
  if (axis.logarithmic) {
    const double factor = flat(range) ? 2 : std::pow(range.high / range.low, margin);
    return {range.low / factor, range.high * factor};
  }
  const double width = flat(range) ? std::max(0.5, std::abs(range.low) / 2) : margin * range.length();
  return {range.low - width, range.high + width};
}

// 1, 2 or 5 times a power of ten, so that about `count` of them make up `length`.
double tick_step(double length, double count) {
  const double raw = length / count, power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (raw <= factor * power * 1.001) return factor * power;
  return 10 * power;
}

struct Tick {
  std::string text;  // enhanced text of gnuplot
  double at = 0;
};

std::string power_text(double factor, int power) {
  return factor == 1 ? fmt::format("10^{{{}}}", power) : fmt::format("{:g}·10^{{{}}}", factor, power);
}

std::vector<Tick> linear_ticks(const Range& range, double count) {
  std::vector<Tick> ticks;
  const double step = tick_step(range.length(), count);
  const auto first = std::llround(std::ceil(range.low / step - 1e-9)),
             last = std::llround(std::floor(range.high / step + 1e-9));
  for (auto i = first; i <= last; ++i) {
    const double value = static_cast<double>(i) * step;
    ticks.push_back({fmt::format("{:.6g}", value), value});
  }
  return ticks;
}

std::vector<Tick> logarithmic_ticks(const Range& range, double count) {
  std::vector<Tick> ticks;
  const double low = std::log10(range.low), high = std::log10(range.high);
  const auto first = static_cast<int>(std::ceil(low - 1e-9)), last = static_cast<int>(std::floor(high + 1e-9));
  if (last > first + 1) {  // powers of ten, every one or every few; the others have a mark without a text
    const int step = static_cast<int>(std::ceil((last - first + 1) / count));
    for (int power = first; power <= last; ++power)
      ticks.push_back({(power - first) % step == 0 ? power_text(1, power) : "", std::pow(10, power)});
    return ticks;
  }
  const double decades = high - low;
  const std::vector<double> factors = decades < 0.5   ? std::vector<double>{1, 1.5, 2, 3, 4, 5, 7}
                                      : decades < 1.2 ? std::vector<double>{1, 2, 3, 5}
                                                      : std::vector<double>{1, 2, 5};
  for (int power = first - 1; power <= last + 1; ++power)
    for (const double factor : factors) {
      const double value = factor * std::pow(10, power);
      if (value < range.low || value > range.high) continue;
      ticks.push_back({power < -3 || power > 4 ? power_text(factor, power) : fmt::format("{:g}", value), value});
    }
  if (ticks.empty()) ticks.push_back({fmt::format("{:.3g}", range.low), range.low});
  return ticks;
}

// count: about so many fit.
std::vector<Tick> ticks_of(const Axis& axis, const Range& range, double count) {
  std::vector<Tick> names;
  for (const std::string& name : axis.names) names.push_back({name, static_cast<double>(names.size() + 1)});
  if (!names.empty()) return names;
  return axis.logarithmic ? logarithmic_ticks(range, count) : linear_ticks(range, count);
}

double most_ticks(double length, bool vertical) {
  return std::clamp(std::floor(length / (vertical ? 18 : 22)), 2.0, 6.0);
}

std::string axis_script(const char* name, const Axis& axis, const Range& range, double length, bool vertical) {
  std::vector<std::string> ticks;
  for (const Tick& tick : ticks_of(axis, range, most_ticks(length, vertical)))
    ticks.push_back(fmt::format("{} {:.17e}", quoted(tick.text), tick.at));
  return fmt::format(
      "set {0}label {1} noenhanced\nset {0}range [{2:.17e}:{3:.17e}]\n{4} logscale {0}\nset {0}tics {5} ({6})\n", name,
      quoted(label_of(axis)), range.low, range.high, axis.logarithmic ? "set" : "unset",
      axis.names.empty() ? "enhanced" : "noenhanced", fmt::join(ticks, ", "));
}

// Room for the texts of the ticks of a vertical axis.
double y_ticks_width(const Panel& panel) {
  size_t longest = 0;
  for (const Tick& tick : ticks_of(panel.y, shown(panel.y, panel.series, true, true), 6)) {
    const bool power = tick.text.find('^') != std::string::npos;  // ^{} is not printed, and the exponent is smaller
    longest = std::max(longest, characters(tick.text) - (power ? 3 : 0));
  }
  return std::max(least_y_ticks_width, character_width * static_cast<double>(longest) + 5);
}

// Names in the order in which they first appear; the place of a name chooses its colour.
std::vector<const Series*> named_series(const Figure& figure) {
  std::vector<const Series*> named;
  for (const Panel& panel : figure.panels)
    for (const Series& series : panel.series)
      if (!series.name.empty() &&
          std::none_of(named.begin(), named.end(), [&](const Series* other) { return other->name == series.name; }))
        named.push_back(&series);
  return named;
}

int colour_index(const Series& series, const std::vector<const Series*>& named) {
  if (series.colour) return *series.colour;
  return static_cast<int>(
      std::find_if(named.begin(), named.end(), [&](const Series* other) { return other->name == series.name; }) -
      named.begin());
}

std::string colour(unsigned rgb, unsigned transparency = 0) {
  return fmt::format("lc rgb '#{:02X}{:06X}'", transparency, rgb);
}

// What gnuplot calls the format, and its dots per point of lengths, fonts and symbols. The bitmap terminal takes a
// font's size for 96 dots per inch; the vector terminal draws the larger symbols.
struct Terminal {
  const char* name;
  double scale, font, symbol;
};

Terminal terminal_of(PictureFormat format) {
  if (format == PictureFormat::svg)
    return {"svg", svg_dots_per_inch / 72, svg_dots_per_inch / 72, svg_dots_per_inch / 96};
  return {"pngcairo", png_dots_per_inch / 72, png_dots_per_inch / 96, png_dots_per_inch / 72};
}

// How a series is drawn; of the second round of the palette on, lines are dotted.
std::string drawing(const Series& series, const std::vector<const Series*>& named, const Terminal& terminal) {
  const auto index = static_cast<size_t>(std::max(0, colour_index(series, named)));
  const bool background = series.name.empty() && !series.colour;
  const unsigned rgb = background ? background_colour : palette[index % palette.size()];
  const int shape = point_shapes[index % point_shapes.size()];
  const std::string solid = index >= palette.size() ? "dt (1,2)" : "dt solid";
  const double width = background ? 0.5 : 1.1;
  switch (series.style) {
    case SeriesStyle::path:
      return fmt::format("with linespoints lw {} pt 7 ps {:.3g} dt solid {}", 0.5 * terminal.scale,
                         0.18 * terminal.symbol, colour(rgb));
    case SeriesStyle::points:
      return fmt::format("with points pt 7 ps {:.3g} {}", 0.16 * terminal.symbol, colour(rgb, 0x90));
    case SeriesStyle::marker:
      return fmt::format("with points pt {} ps {:.3g} {}", shape, 0.5 * terminal.symbol, colour(rgb));
    case SeriesStyle::dashed:
    case SeriesStyle::closed_dashed:
      return fmt::format("with lines lw {} dt (6,7) {}", width * terminal.scale, colour(rgb));
    default:
      return fmt::format("with lines lw {} {} {}", width * terminal.scale, solid, colour(rgb));
  }
}

// A data block of gnuplot. An empty line leaves a gap.
std::string data_block(const std::string& name, const Series& series, const Panel& panel, bool band,
                       const Range& visible) {
  std::string block = fmt::format("${} << EOD\n", name);
  const auto row = [&](size_t i) {
    if (!drawable(series.x[i], panel.x)) return std::string("\n");
    if (!band)
      return drawable(series.y[i], panel.y) ? fmt::format("{} {}\n", series.x[i], series.y[i]) : std::string("\n");
    // A band that reaches 0 goes to the lower edge of a logarithmic axis.
    const double low = panel.y.logarithmic ? std::max(series.low[i], visible.low) : series.low[i];
    return std::isfinite(low) && drawable(series.high[i], panel.y)
               ? fmt::format("{} {} {}\n", series.x[i], low, series.high[i])
               : std::string("\n");
  };
  for (size_t i = 0; i < series.x.size(); ++i) block += row(i);
  if (!band && is_closed(series.style) && !series.x.empty()) block += row(0);
  return block + "EOD\n";
}

std::string place(double left, double right, double bottom, double top, double width, double height) {
  return fmt::format(
      "set lmargin at screen {:.5f}\nset rmargin at screen {:.5f}\nset bmargin at screen {:.5f}\n"
      "set tmargin at screen {:.5f}\n",
      left / width, right / width, bottom / height, top / height);
}

struct Layout {
  double width = 0, height = 0, cell_width = 0, left = 0, panel_top = 0, plot_width = 0;
  std::vector<double> plot_heights, bottoms;  // of every row of panels
  int legend_columns = 1, legend_rows = 0;
  double legend_entry = 0;  // width of one
};

// A name that is wider than the picture loses its end.
std::string legend_text(const std::string& name, double width) {
  const auto most = static_cast<size_t>((width - legend_sample - legend_gap) / character_width) - 3;
  if (characters(name) <= most) return name;
  std::string text;
  size_t count = 0;
  for (const char c : name) {
    const bool begins_character = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    if (begins_character && ++count == most) break;
    text += c;
  }
  return text + "…";
}

Layout layout_of(const Figure& figure, const std::vector<const Series*>& named) {
  Layout layout;
  const auto any = [&](auto property) { return std::any_of(figure.panels.begin(), figure.panels.end(), property); };
  const bool y_label = any([](const Panel& p) { return !p.y.label.empty(); });
  layout.width = figure.columns > 1 && !figure.small_panels ? page_width : column_width;
  layout.cell_width = layout.width / figure.columns;
  for (const Panel& panel : figure.panels) layout.left = std::max(layout.left, y_ticks_width(panel));
  if (y_label) layout.left += label_height;
  layout.panel_top = any([](const Panel& p) { return !p.title.empty(); }) ? panel_title_height + 4 : 4;
  layout.plot_width = layout.cell_width - layout.left - right_margin;
  layout.height = figure.title.empty() ? 0 : title_height;
  for (size_t first = 0; first < figure.panels.size(); first += static_cast<size_t>(figure.columns)) {
    double plot_height = 0, bottom = x_ticks_height + 4;
    for (size_t i = first; i < std::min(figure.panels.size(), first + static_cast<size_t>(figure.columns)); ++i) {
      const Panel& panel = figure.panels[i];
      const double ratio = panel.equal_scales ? shown(panel.y, panel.series, true, false).length() /
                                                    shown(panel.x, panel.series, false, false).length()
                                              : height_of_width;
      plot_height = std::max(plot_height, ratio * layout.plot_width);
      if (!panel.x.label.empty()) bottom = x_ticks_height + label_height + 4;
    }
    layout.plot_heights.push_back(plot_height);
    layout.bottoms.push_back(bottom);
    layout.height += layout.panel_top + plot_height + bottom;
  }
  if (figure.legend && !named.empty()) {
    size_t longest = 0;
    for (const Series* series : named) longest = std::max(longest, characters(legend_text(series->name, layout.width)));
    layout.legend_entry = legend_sample + legend_gap + character_width * static_cast<double>(longest + 2);
    const auto count = static_cast<int>(named.size());
    const int most = std::clamp(static_cast<int>(layout.width / layout.legend_entry), 1, count);
    layout.legend_rows = (count + most - 1) / most;
    layout.legend_columns = (count + layout.legend_rows - 1) / layout.legend_rows;
    layout.height += legend_line * layout.legend_rows + 6;
  }
  return layout;
}

// What a legend shows of a name: the first series of it, in black if they have several colours.
Series sample_of(const Figure& figure, const Series& first, const std::vector<const Series*>& named) {
  Series sample = first;
  for (const Panel& panel : figure.panels)
    for (const Series& series : panel.series)
      if (series.name == first.name && colour_index(series, named) != colour_index(first, named))
        sample.colour = static_cast<int>(palette.size()) - 1;
  return sample;
}

// A plot of its own in points over the whole picture, so that all panels share one legend.
std::string legend_script(const Figure& figure, const Layout& layout, const std::vector<const Series*>& named,
                          const Terminal& terminal) {
  std::string script = place(0, layout.width, 0, layout.height, layout.width, layout.height);
  script += "unset border\nunset tics\nunset title\nunset xlabel\nunset ylabel\nunset logscale\n";
  script += fmt::format("set xrange [0:{:.2f}]\nset yrange [0:{:.2f}]\n", layout.width, layout.height);
  std::vector<std::string> entries;
  const double left = (layout.width - layout.legend_columns * layout.legend_entry) / 2;
  for (size_t i = 0; i < named.size(); ++i) {
    const auto rows = static_cast<size_t>(layout.legend_rows);
    const double x = left + static_cast<double>(i / rows) * layout.legend_entry;
    const double y = legend_line * (static_cast<double>(layout.legend_rows - static_cast<int>(i % rows)) - 0.5) + 2;
    const bool point = named[i]->style == SeriesStyle::points || named[i]->style == SeriesStyle::marker;
    script += fmt::format("set label {} {} at {:.2f},{:.2f} left noenhanced font ',{:.2f}'\n", i + 10,
                          quoted(legend_text(named[i]->name, layout.width)), x + legend_sample + legend_gap, y, tick_font_size * terminal.font);
    script += point
                  ? fmt::format("$legend{} << EOD\n{:.2f} {:.2f}\nEOD\n", i, x + legend_sample / 2, y)
                  : fmt::format("$legend{} << EOD\n{:.2f} {:.2f}\n{:.2f} {:.2f}\nEOD\n", i, x, y, x + legend_sample, y);
    entries.push_back(
        fmt::format("$legend{} using 1:2 {}", i, drawing(sample_of(figure, *named[i], named), named, terminal)));
  }
  return script + fmt::format("plot {}\n", fmt::join(entries, ", \\\n  "));
}

std::string script_of(const Figure& figure, PictureFormat format) {
  const std::vector<const Series*> named = named_series(figure);
  const Layout layout = layout_of(figure, named);
  const Terminal terminal = terminal_of(format);
  std::string script = "set encoding utf8\n", data;
  script += fmt::format(
      "set terminal {} size {:.0f},{:.0f} font 'sans-serif,{:.2f}' enhanced rounded background rgb 'white'\n",
      terminal.name, layout.width * terminal.scale, layout.height * terminal.scale, font_size * terminal.font);
  std::string plots;
  plots += "set multiplot\n";
  plots += fmt::format("set border 3 lw {:.2f} {}\nset tics nomirror scale 0.5 font ',{:.2f}'\n", 0.5 * terminal.scale,
                       colour(0x404040), tick_font_size * terminal.font);
  plots += "set xtics offset 0,0.3\nset ytics offset 0.4,0\nunset key\n";
  double top = layout.height;
  if (!figure.title.empty()) {
    plots += fmt::format("set label 1 {} at screen 0.5,{:.5f} center noenhanced\n", quoted(figure.title),
                         (layout.height - title_height / 2 - 1) / layout.height);
    top -= title_height;
  }
  for (size_t i = 0; i < figure.panels.size(); ++i) {
    const Panel& panel = figure.panels[i];
    const size_t column = i % static_cast<size_t>(figure.columns), row = i / static_cast<size_t>(figure.columns);
    if (column == 0 && i > 0) top -= layout.panel_top + layout.plot_heights[row - 1] + layout.bottoms[row - 1];
    const double left = layout.left + static_cast<double>(column) * layout.cell_width;
    const double plot_top = top - layout.panel_top, plot_height = layout.plot_heights[row];
    const Range x = shown(panel.x, panel.series, false, false), y = shown(panel.y, panel.series, true, true);
    plots += place(left, left + layout.plot_width, plot_top - plot_height, plot_top, layout.width, layout.height);
    plots += fmt::format("set title {} noenhanced offset 0,-0.6\n", quoted(panel.title));
    plots += axis_script("x", panel.x, x, layout.plot_width, false) + axis_script("y", panel.y, y, plot_height, true);
    plots += "set xlabel offset 0,0.8\nset ylabel offset 0.8,0\n";
    std::vector<std::string> bands, lines;
    for (size_t s = 0; s < panel.series.size(); ++s) {
      const Series& series = panel.series[s];
      const std::string name = fmt::format("p{}s{}", i, s);
      if (!series.low.empty()) {
        data += data_block(name + "band", series, panel, true, y);
        const auto index = static_cast<size_t>(std::max(0, colour_index(series, named)));
        bands.push_back(fmt::format("${}band using 1:2:3 with filledcurves fs solid noborder {}", name,
                                    colour(palette[index % palette.size()], 0xC8)));
      }
      data += data_block(name, series, panel, false, y);
      if (!series.x.empty()) lines.push_back(fmt::format("${} using 1:2 {}", name, drawing(series, named, terminal)));
    }
    bands.insert(bands.end(), lines.begin(), lines.end());
    if (bands.empty()) bands.push_back("NaN");
    plots += fmt::format("plot {}\nunset label 1\n", fmt::join(bands, ", \\\n  "));
  }
  if (layout.legend_rows > 0) plots += legend_script(figure, layout, named, terminal);
  return script + data + plots + "unset multiplot\n";
}

}  // namespace

const char* const gnuplot_missing =
    "no pictures are drawn: gnuplot is not found; scripts/install_packages.sh or apt-get install gnuplot-nox installs "
    "it";

void check_figure(const Figure& figure) {
  NSGD_CHECK(!figure.panels.empty() && figure.columns >= 1, "figure \"{}\": has no panels", figure.title);
  for (const Panel& panel : figure.panels) {
    NSGD_CHECK(!panel.equal_scales || (panel.x.range && panel.y.range),
               "figure \"{}\": panel \"{}\" has equal scales and no ranges", figure.title, panel.title);
    for (const Series& series : panel.series) {
      const size_t n = series.x.size();
      NSGD_CHECK(series.y.size() == n && series.low.size() == series.high.size() &&
                     (series.low.empty() || series.low.size() == n),
                 "figure \"{}\": series \"{}\" has {} x, {} y, {} low and {} high values", figure.title, series.name, n,
                 series.y.size(), series.low.size(), series.high.size());
    }
  }
}

std::optional<std::string> draw_figure(const Figure& figure, PictureFormat format) {
  check_figure(figure);
  try {
    return run_gnuplot(script_of(figure, format));
  } catch (const Error& error) {
    throw DrawingError(error.what());
  }
}

bool write_figure(const Figure& figure, const std::filesystem::path& folder, const std::string& name) {
  check_figure(figure);
  write_file_atomically(folder / (name + ".csv"), figure_csv(figure));
  write_file_atomically(folder / (name + ".json"), figure_json(figure).dump(1) + "\n");
  const std::array formats{std::pair{PictureFormat::svg, ".svg"}, std::pair{PictureFormat::png, ".png"}};
  for (const auto& [format, suffix] : formats) std::filesystem::remove(folder / (name + suffix));
  for (const auto& [format, suffix] : formats) {
    const std::optional<std::string> picture = draw_figure(figure, format);
    if (!picture) return false;
    write_file_atomically(folder / (name + suffix), *picture);
  }
  return true;
}

Series ellipse(std::string name, std::pair<double, double> centre, const Covariance2d& covariance, double deviations) {
  Series series{std::move(name), {}, {}};
  series.style = SeriesStyle::closed;
  const double mean = (covariance.xx + covariance.yy) / 2;
  const double half = std::hypot((covariance.xx - covariance.yy) / 2, covariance.xy);
  const double angle = 0.5 * std::atan2(2 * covariance.xy, covariance.xx - covariance.yy);
  const double major = deviations * std::sqrt(mean + half), minor = deviations * std::sqrt(std::max(0.0, mean - half));
  constexpr int points = 90;
  for (int i = 0; i < points; ++i) {
    const double t = 2 * std::numbers::pi * i / points;
    const double u = major * std::cos(t), v = minor * std::sin(t);
    series.x.push_back(centre.first + u * std::cos(angle) - v * std::sin(angle));
    series.y.push_back(centre.second + u * std::sin(angle) + v * std::cos(angle));
  }
  return series;
}

}  // namespace noisysgd
