#include <noisysgd/apps/report/curves.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <noisysgd/apps/spread.h>

namespace noisysgd {
namespace {

constexpr double no_value = std::numeric_limits<double>::quiet_NaN();

struct Quantity {
  std::string title, field;
  bool evaluated = false;
  double factor = 1;
  bool may_be_logarithmic = true;
};

struct Curve {
  std::vector<double> x, y;
};

Curve curve_of(const LoggedRun& run, const Quantity& quantity, const std::string& layer, CurveAxis axis) {
  const LogColumns& log = quantity.evaluated ? run.evaluated : run.train;
  const std::vector<double>* const values = log.find(quantity.field, layer);
  if (!values) return {};
  Curve curve{axis == CurveAxis::steps ? log.step : quantity.evaluated ? log.epoch : run.train_epochs(), *values};
  for (double& y : curve.y) y *= quantity.factor;
  return curve;
}

// Means of `lines` neighbouring points, each at the last of their x. A mean is over the finite values.
Curve thinned(const Curve& curve, size_t lines) {
  if (lines < 2) return curve;
  Curve result;
  for (size_t begin = 0; begin < curve.x.size(); begin += lines) {
    const size_t end = std::min(begin + lines, curve.x.size());
    double sum = 0, count = 0;
    for (size_t i = begin; i < end; ++i)
      if (std::isfinite(curve.y[i])) {
        sum += curve.y[i];
        ++count;
      }
    result.x.push_back(curve.x[end - 1]);
    result.y.push_back(count > 0 ? sum / count : no_value);
  }
  return result;
}

bool has_values(const Curve& curve) {
  return std::any_of(curve.y.begin(), curve.y.end(), [](double y) { return std::isfinite(y); });
}

// The number of first points that all curves have at the same x.
size_t common_points(const std::vector<Curve>& curves) {
  size_t count = curves[0].x.size();
  for (const Curve& curve : curves) {
    const size_t most = std::min(count, curve.x.size());
    count = static_cast<size_t>(
        std::mismatch(curve.x.begin(), curve.x.begin() + static_cast<std::ptrdiff_t>(most), curves[0].x.begin()).first -
        curve.x.begin());
  }
  return count;
}

Series mean_of(const std::vector<Curve>& curves, size_t points) {
  Series mean;
  for (size_t i = 0; i < points; ++i) {
    std::vector<double> values;
    for (const Curve& curve : curves) values.push_back(curve.y[i]);
    const Spread spread = spread_of(values);
    mean.x.push_back(curves[0].x[i]);
    mean.y.push_back(spread.mean);
    mean.low.push_back(spread.mean - spread.deviation);
    mean.high.push_back(spread.mean + spread.deviation);
  }
  return mean;
}

// The series of one group.
std::vector<Series> series_of(std::vector<Curve> curves) {
  std::erase_if(curves, [](const Curve& curve) { return !has_values(curve); });
  std::vector<Series> series;
  if (curves.empty()) return series;
  const size_t common = curves.size() > 1 ? common_points(curves) : 0;
  if (common > 1) series.push_back(mean_of(curves, common));
  for (const Curve& curve : curves) {
    const size_t first = common > 1 ? common - 1 : 0;  // joined to the mean's last point
    if (first + 1 >= curve.x.size() && first > 0) continue;
    const auto from = static_cast<std::ptrdiff_t>(first);
    series.push_back({"", {curve.x.begin() + from, curve.x.end()}, {curve.y.begin() + from, curve.y.end()}});
  }
  return series;
}

// Logarithmic if the values span a factor of more than 20, none below 0.
bool is_logarithmic(const Panel& panel) {
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (const Series& series : panel.series)
    for (const double y : series.y) {
      if (y < 0) return false;
      if (y > 0 && std::isfinite(y)) {
        low = std::min(low, y);
        high = std::max(high, y);
      }
    }
  return high > 20 * low;
}

// No figure if nothing is logged.
std::vector<Figure> figure_of(const std::vector<RunGroup>& groups, const Quantity& quantity, const std::string& layer,
                              CurveAxis axis, size_t most_points) {
  Panel panel;
  panel.title = layer.empty() ? quantity.title : layer;
  panel.x.label = axis == CurveAxis::epochs ? "epoch" : "step";
  for (size_t g = 0; g < groups.size(); ++g) {
    std::vector<Curve> curves;
    size_t lines = 1;  // of the log for one point
    for (const LoggedRun& run : groups[g].runs) {
      curves.push_back(curve_of(run, quantity, layer, axis));
      lines = std::max(lines, (curves.back().x.size() + most_points - 1) / most_points);
    }
    for (Curve& curve : curves) curve = thinned(curve, lines);
    for (Series& series : series_of(std::move(curves))) {
      series.name = groups[g].label;
      series.colour = static_cast<int>(g);
      if (series.x.size() == 1) series.style = SeriesStyle::marker;
      panel.series.push_back(std::move(series));
    }
  }
  if (panel.series.empty()) return {};
  panel.y.logarithmic = quantity.may_be_logarithmic && is_logarithmic(panel);
  return {Figure{.title = "", .panels = {std::move(panel)}, .legend = groups.size() > 1}};
}

std::string evaluated_set(const std::vector<RunGroup>& groups) {
  const std::string& first = groups[0].runs[0].evaluated_set;
  for (const RunGroup& group : groups)
    for (const LoggedRun& run : group.runs)
      if (run.evaluated_set != first) return "test or holdout";
  return first;
}

}  // namespace

CurveAxis common_axis(const std::vector<RunGroup>& groups) {
  for (const RunGroup& group : groups)
    for (const LoggedRun& run : group.runs)
      if (run.train.lines() > 0 && run.train_epochs().empty()) return CurveAxis::steps;
  return CurveAxis::epochs;
}

std::vector<CurveFigures> learning_curves(const std::vector<RunGroup>& groups, CurveAxis axis, size_t most_points) {
  std::vector<CurveFigures> curves;
  if (groups.empty()) return curves;
  const auto add = [&](CurveFigures& list, const Quantity& quantity, const std::string& layer) {
    for (Figure& figure : figure_of(groups, quantity, layer, axis, most_points))
      list.figures.push_back(std::move(figure));
  };
  const std::string evaluated = evaluated_set(groups);
  CurveFigures network{"Learning curves", {}};
  for (const Quantity& quantity :
       {Quantity{"training loss", "loss"}, Quantity{"training accuracy (%)", "accuracy", false, 100, false},
        Quantity{evaluated + " loss", "loss", true},
        Quantity{evaluated + " accuracy (%)", "accuracy", true, 100, false},
        Quantity{"learning rate", "learning_rate", false, 1, false}, Quantity{"norm of the gradient", "gradient_norm"},
        Quantity{"norm of the noise", "noise_norm"}, Quantity{"gradient noise scale (samples)", "gradient_noise_scale"},
        Quantity{"variance of a sample's gradient", "gradient_variance"}})
    add(network, quantity, "");
  curves.push_back(std::move(network));

  std::vector<std::string> layers;
  for (const RunGroup& group : groups)
    for (const LoggedRun& run : group.runs)
      for (const std::string& layer : run.train.layers)
        if (std::find(layers.begin(), layers.end(), layer) == layers.end()) layers.push_back(layer);
  for (const Quantity& quantity :
       {Quantity{"Ratio r of predicted and measured gradient variance, per layer", "variance_ratio"},
        Quantity{"Effective rank of F, per layer", "effective_rank"}, Quantity{"Trace of F, per layer", "fisher_trace"},
        Quantity{"Norm of diag(F), per layer", "fisher_diagonal_norm"}}) {
    CurveFigures list{quantity.title, {}};
    for (const std::string& layer : layers) add(list, quantity, layer);
    if (!list.figures.empty()) curves.push_back(std::move(list));
  }
  return curves;
}

}  // namespace noisysgd
