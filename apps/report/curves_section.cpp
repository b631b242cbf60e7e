#include <fmt/format.h>

#include <noisysgd/apps/report/curves.h>
#include <noisysgd/apps/report/sections.h>

namespace noisysgd {
namespace {

using html::Html;

Html note(std::string_view plain) { return html::element("p", plain, {{"class", "note"}}); }

std::string explanation(const std::vector<RunGroup>& groups, CurveAxis axis) {
  std::string text;
  for (const RunGroup& group : groups)
    if (group.runs.size() > 1 && text.empty())
      text =
          "Lines are means over the seeds, bands are one standard deviation. Where a seed has ended before others, "
          "the others are drawn one by one. ";
  if (axis == CurveAxis::steps) text += "Drawn by step, because a run has not ended its first epoch. ";
  return text +
         "Training loss and accuracy are means over the steps between two log lines. Long logs are averaged over "
         "neighbouring lines.";
}

}  // namespace

Html curves_section(const std::vector<RunGroup>& groups, std::vector<std::string>& problems) {
  const CurveAxis axis = common_axis(groups);
  Html section;
  size_t drawings = 0;
  bool first = true;
  for (const CurveFigures& list : learning_curves(groups, axis)) {
    if (list.figures.empty()) continue;
    Html figures;
    for (const Figure& figure : list.figures) {
      const std::string label = (first ? "" : list.title + ": ") + figure.panels[0].title;
      std::optional<std::string> svg;
      try {
        svg = draw_figure(figure, PictureFormat::svg);
      } catch (const DrawingError& error) {
        problems.push_back(fmt::format("{}: cannot be drawn: {}", label, error.what()));
        continue;
      }
      if (!svg) return html::element("h2", "Learning curves") + note(gnuplot_missing);
      figures += html::inline_svg(*svg, fmt::format("d{}-", drawings++), label);
    }
    const Html grid = html::element("div", figures, {{"class", "figures"}});
    section += first ? html::element("h2", list.title) + note(explanation(groups, axis)) + grid
                     : html::details(list.title, grid, !section.empty() && list.figures.size() <= 12);
    first = false;
  }
  return section;
}

}  // namespace noisysgd
