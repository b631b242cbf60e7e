#include <noisysgd/apps/analysis/one_step_2d.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include <noisysgd/apps/analysis/normals.h>

namespace noisysgd {
namespace {

using Point = std::array<double, 2>;

constexpr uint32_t data_stream = 100;  // those below are of the regimes

constexpr std::array regimes{OneStepRegime::small_batch, OneStepRegime::isotropic, OneStepRegime::full_fisher,
                             OneStepRegime::diagonal_fisher};

double kappa(const Regression2d& problem, const OneStepOptions& options) {
  const auto n = static_cast<double>(problem.targets.size()), m = static_cast<double>(options.small_batch);
  return (n - m) / (n * m);
}

Covariance2d scaled(const Covariance2d& c, double factor) { return {factor * c.xx, factor * c.xy, factor * c.yy}; }

double norm(const Covariance2d& c) { return std::sqrt(c.xx * c.xx + 2 * c.xy * c.xy + c.yy * c.yy); }

double relative_difference(const Covariance2d& a, const Covariance2d& b) {
  return norm({a.xx - b.xx, a.xy - b.xy, a.yy - b.yy}) / norm(b);
}

Covariance2d covariance_of(const std::vector<Point>& points) {
  const auto n = static_cast<double>(points.size());
  Point mean{};
  for (const Point& p : points) mean = {mean[0] + p[0] / n, mean[1] + p[1] / n};
  Covariance2d c;
  for (const auto& [x, y] : points) {
    c.xx += (x - mean[0]) * (x - mean[0]) / (n - 1);
    c.xy += (x - mean[0]) * (y - mean[1]) / (n - 1);
    c.yy += (y - mean[1]) * (y - mean[1]) / (n - 1);
  }
  return c;
}

// Of the longest axis, in degrees.
double direction(const Covariance2d& c) { return 0.5 * std::atan2(2 * c.xy, c.xx - c.yy) * 180 / std::numbers::pi; }

std::string title_of(OneStepRegime regime, const OneStepOptions& options) {
  switch (regime) {
    case OneStepRegime::small_batch:
      return fmt::format("SGD, batches of {}", options.small_batch);
    case OneStepRegime::isotropic:
      return fmt::format("isotropic, σ = {:g}", options.sigma);
    case OneStepRegime::full_fisher:
      return "full Fisher";
    default:
      return "diagonal Fisher";
  }
}

Point after_full_batch(const Regression2d& problem, const OneStepOptions& options) {
  const Point gradient = problem.mean_gradient(options.start);
  return {options.start[0] - options.rate * gradient[0], options.start[1] - options.rate * gradient[1]};
}

}  // namespace

Point Regression2d::gradient(size_t sample, Point theta) const {
  const auto& [x0, x1] = inputs[sample];
  const double residual = x0 * theta[0] + x1 * theta[1] - targets[sample];
  return {residual * x0, residual * x1};
}

Point Regression2d::mean_gradient(Point theta) const {
  Point mean{};
  for (size_t n = 0; n < targets.size(); ++n) {
    const Point g = gradient(n, theta);
    mean = {mean[0] + g[0], mean[1] + g[1]};
  }
  const auto count = static_cast<double>(targets.size());
  return {mean[0] / count, mean[1] / count};
}

double Regression2d::loss(Point theta) const {
  double sum = 0;
  for (size_t n = 0; n < targets.size(); ++n) {
    const double residual = inputs[n][0] * theta[0] + inputs[n][1] * theta[1] - targets[n];
    sum += residual * residual / 2;
  }
  return sum / static_cast<double>(targets.size());
}

Covariance2d Regression2d::hessian() const {
  Covariance2d sum;
  for (const auto& [x, y] : inputs) sum = {sum.xx + x * x, sum.xy + x * y, sum.yy + y * y};
  return scaled(sum, 1 / static_cast<double>(inputs.size()));
}

Covariance2d Regression2d::fisher(Point theta, bool centered) const {
  const Point mean = centered ? mean_gradient(theta) : Point{};
  Covariance2d sum;
  for (size_t n = 0; n < targets.size(); ++n) {
    const Point g = gradient(n, theta), d{g[0] - mean[0], g[1] - mean[1]};
    sum = {sum.xx + d[0] * d[0], sum.xy + d[0] * d[1], sum.yy + d[1] * d[1]};
  }
  return scaled(sum, 1 / (static_cast<double>(targets.size()) - (centered ? 1 : 0)));
}

Covariance2d update_covariance(const Regression2d& problem, const OneStepOptions& options, OneStepRegime regime) {
  const double square = options.rate * options.rate, strength = square * kappa(problem, options);
  const Covariance2d fisher = problem.fisher(options.start, options.centered);
  switch (regime) {
    case OneStepRegime::small_batch:
      return scaled(problem.fisher(options.start, true), strength);
    case OneStepRegime::isotropic:
      return scaled({1, 0, 1}, square * options.sigma * options.sigma);
    case OneStepRegime::full_fisher:
      return scaled(fisher, strength);
    default:
      return scaled({fisher.xx, 0, fisher.yy}, strength);
  }
}

std::vector<Point> draw_updates(const Regression2d& problem, const OneStepOptions& options, OneStepRegime regime,
                                int64_t count, uint64_t seed) {
  Normals normals(seed, static_cast<uint32_t>(regime));
  std::vector<Point> updates;
  if (regime == OneStepRegime::small_batch) {
    std::vector<size_t> order(problem.targets.size());
    std::iota(order.begin(), order.end(), size_t{0});
    for (int64_t draw = 0; draw < count; ++draw) {
      Point sum{};
      for (size_t i = 0; i < static_cast<size_t>(options.small_batch); ++i) {  // the first steps of a shuffle
        std::swap(order[i], order[i + normals.below(static_cast<uint32_t>(order.size() - i))]);
        const Point g = problem.gradient(order[i], options.start);
        sum = {sum[0] + g[0], sum[1] + g[1]};
      }
      const double factor = options.rate / static_cast<double>(options.small_batch);
      updates.push_back({options.start[0] - factor * sum[0], options.start[1] - factor * sum[1]});
    }
    return updates;
  }
  const Point mean = after_full_batch(problem, options);
  const Covariance2d c = update_covariance(problem, options, regime);
  // The lower triangular root of the covariance.
  const double l00 = std::sqrt(c.xx), l10 = l00 > 0 ? c.xy / l00 : 0, l11 = std::sqrt(std::max(0.0, c.yy - l10 * l10));
  for (int64_t draw = 0; draw < count; ++draw) {
    const double xi = normals.next(), eta = normals.next();
    updates.push_back({mean[0] + l00 * xi, mean[1] + l10 * xi + l11 * eta});
  }
  return updates;
}

std::unique_ptr<Analysis> OneStep2d::read(const AnalysisInput& input) {
  const ConfigReader& json = input.json;
  auto analysis = std::make_unique<OneStep2d>();
  const int64_t samples = json.integer("samples", {.default_value = 100, .at_least = 3, .at_most = 100'000});
  const double correlation = json.number("correlation", {.default_value = 0.9, .above = -1, .below = 1});
  const double noise = json.number("target_noise", {.default_value = 1, .at_least = 0});
  const auto point = [&](const char* key, std::vector<double> default_value) {
    const auto values = json.numbers(key, {.default_value = default_value, .length = {.at_least = 2, .at_most = 2}});
    return values.size() == 2 ? Point{values[0], values[1]} : Point{};
  };
  const Point solution = point("solution", {0, 0});
  OneStepOptions& options = analysis->options_;
  options.start = point("start", {1, -0.6});
  options.rate = json.number("rate", {.default_value = 0.5, .above = 0});
  options.small_batch = json.integer("small_batch", {.default_value = 10, .at_least = 1});
  if (options.small_batch >= samples)
    json.error("small_batch", fmt::format("expected fewer than the {} samples", samples));
  options.sigma = json.number("sigma", {.default_value = 0.1, .at_least = 0});
  options.centered = json.boolean("centered", false);
  analysis->draws_ = json.integer("draws", {.default_value = 20'000, .at_least = 2, .at_most = 10'000'000});
  analysis->shown_ =
      std::min(analysis->draws_, json.integer("shown", {.default_value = 300, .at_least = 0, .at_most = 2000}));
  analysis->seed_ = input.seed;
  Normals normals(input.seed, data_stream);
  for (int64_t n = 0; n < samples; ++n) {
    const double a = normals.next(), b = normals.next(), e = normals.next();
    const Point x{a, correlation * a + std::sqrt(1 - correlation * correlation) * b};
    analysis->problem_.inputs.push_back(x);
    analysis->problem_.targets.push_back(x[0] * solution[0] + x[1] * solution[1] + noise * e);
  }
  return analysis;
}

void OneStep2d::run(AnalysisOutput& output) {
  const Covariance2d hessian = problem_.hessian();
  const Point mean = after_full_batch(problem_, options_);
  const Covariance2d sgd = update_covariance(problem_, options_, OneStepRegime::small_batch);

  // The window: the start, and all ellipses at three deviations.
  double reach = 0;
  for (const OneStepRegime regime : regimes) {
    const Covariance2d c = update_covariance(problem_, options_, regime);
    reach = std::max(reach, 3.2 * std::sqrt(std::max(c.xx, c.yy)));
  }
  const Point centre{(std::min(mean[0] - reach, options_.start[0]) + std::max(mean[0] + reach, options_.start[0])) / 2,
                     (std::min(mean[1] - reach, options_.start[1]) + std::max(mean[1] + reach, options_.start[1])) / 2};
  const double half =
      1.05 * std::max({centre[0] - mean[0] + reach, mean[0] + reach - centre[0], centre[1] - mean[1] + reach,
                       mean[1] + reach - centre[1], std::abs(options_.start[0] - centre[0]),
                       std::abs(options_.start[1] - centre[1])});
  // Contours of the loss around its minimum theta: H theta = (1/N) sum x y.
  const double determinant = hessian.xx * hessian.yy - hessian.xy * hessian.xy;
  const Covariance2d inverse{hessian.yy / determinant, -hessian.xy / determinant, hessian.xx / determinant};
  const Point at_zero = problem_.mean_gradient({0, 0});
  const Point minimum{-inverse.xx * at_zero[0] - inverse.xy * at_zero[1],
                      -inverse.xy * at_zero[0] - inverse.yy * at_zero[1]};
  std::vector<Series> contours;
  for (int level = 1; level <= 8; ++level)
    contours.push_back(ellipse("", {minimum[0], minimum[1]}, inverse, 0.3 * level));

  Figure figure{"Updates of one step", {}, 2, true};
  const double start_excess = problem_.loss(options_.start) - problem_.loss(minimum);
  output.number("excess loss at the start", start_excess);
  for (const OneStepRegime regime : regimes) {
    const std::string title = title_of(regime, options_);
    std::vector<Point> updates = draw_updates(problem_, options_, regime, draws_, seed_);
    const Covariance2d sampled = covariance_of(updates), exact = update_covariance(problem_, options_, regime);
    Panel panel{title,
                {"θ₁", "", false, std::pair{centre[0] - half, centre[0] + half}},
                {"θ₂", "", false, std::pair{centre[1] - half, centre[1] + half}},
                contours,
                true};
    if (figure.panels.size() < 2) panel.x.label = "";
    if (figure.panels.size() % 2 == 1) panel.y.label = "";
    Series points{"updates", {}, {}};
    points.style = SeriesStyle::points;
    for (size_t i = 0; i < static_cast<size_t>(shown_); ++i) {
      points.x.push_back(updates[i][0]);
      points.y.push_back(updates[i][1]);
    }
    Series own = ellipse("2σ ellipse", {mean[0], mean[1]}, sampled);
    Series reference = ellipse("2σ ellipse of SGD", {mean[0], mean[1]}, sgd);
    reference.style = SeriesStyle::closed_dashed;
    reference.colour = 6;
    Series start{"start", {options_.start[0]}, {options_.start[1]}};
    start.style = SeriesStyle::marker;
    start.colour = 2;
    panel.series.insert(panel.series.end(), {points, own});
    if (regime != OneStepRegime::small_batch) panel.series.push_back(reference);
    panel.series.push_back(start);
    figure.panels.push_back(std::move(panel));

    // E L after the step, minus that of the minimum: the loss is quadratic.
    const double spread = (hessian.xx * exact.xx + 2 * hessian.xy * exact.xy + hessian.yy * exact.yy) / 2;
    output.number(title + ": expected excess loss after the step",
                  problem_.loss(mean) - problem_.loss(minimum) + spread);
    output.number(title + ": trace of the update's covariance", exact.xx + exact.yy);
    if (regime != OneStepRegime::small_batch)
      output.number(title + ": difference from SGD's covariance", relative_difference(exact, sgd));
    output.number(fmt::format("{}: difference of {} draws from the formula", title, draws_),
                  relative_difference(sampled, exact));
    if (exact.xy != 0) output.number(title + ": direction of the longest axis (degrees)", direction(exact));
  }
  output.number("direction of the steepest curvature (degrees)", direction(hessian));
  OneStepOptions centered = options_;
  centered.centered = true;
  output.number("full Fisher, centred: difference from SGD's covariance",
                relative_difference(update_covariance(problem_, centered, OneStepRegime::full_fisher), sgd));
  output.figure("one_step", figure);
}

}  // namespace noisysgd
