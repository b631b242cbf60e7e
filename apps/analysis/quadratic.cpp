#include <noisysgd/apps/analysis/quadratic.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include <noisysgd/apps/analysis/normals.h>

namespace noisysgd {
namespace {

// Streams of random numbers: one for each noise's trajectory, others for its runs.
constexpr uint32_t trajectory_stream = 0, runs_stream = 100;

// {theta: theta' A theta / 2 = loss}: the ellipse of the covariance 2 loss / A at one deviation.
Series contour(const Spectrum& a, double loss) {
  const Matrix& p = a.vectors;
  Covariance2d inverse;
  for (int64_t k = 0; k < 2; ++k) {
    const double scale = 2 * loss / a.eigenvalues[static_cast<size_t>(k)];
    inverse.xx += scale * p(0, k) * p(0, k);
    inverse.xy += scale * p(0, k) * p(1, k);
    inverse.yy += scale * p(1, k) * p(1, k);
  }
  return ellipse("", {0, 0}, inverse, 1);
}

}  // namespace

std::unique_ptr<Analysis> Quadratic::read(const AnalysisInput& input) {
  const ConfigReader& json = input.json;
  std::unique_ptr<Quadratic> analysis(new Quadratic(read_quadratic(json, input.seed)));
  const double largest = analysis->spectrum_.eigenvalues.back();
  const size_t dimension = analysis->spectrum_.eigenvalues.size();
  if (dimension != 2 && (json.has("matrix") || json.has("spectrum")))
    json.error(json.has("matrix") ? "matrix" : "spectrum",
               fmt::format("expected two parameters, which can be drawn, got {}", dimension));
  analysis->start_ = json.numbers("start", {.length = {.at_least = 2, .at_most = 2}});
  analysis->noises_ = read_noises(json, {"full", "diagonal"});
  analysis->rate_ = json.number("rate", {.default_value = 0.1, .above = 0});
  if (!(analysis->rate_ < 2 / largest))
    json.error("rate",
               fmt::format("expected a rate below 2 / largest eigenvalue = {:.4g}; others diverge", 2 / largest));
  analysis->steps_ = json.integer("steps", {.default_value = 500, .at_least = 1, .at_most = 1'000'000});
  analysis->plot_every_ = json.integer("plot_every", {.default_value = 10, .at_least = 1});
  analysis->runs_ = json.integer("runs", {.default_value = 1000, .at_least = 2, .at_most = 100'000});
  analysis->seed_ = input.seed;
  return analysis;
}

Figure Quadratic::trajectories() const {
  const Matrix a = matrix_of(spectrum_);
  Figure figure{fmt::format("{} iterations at rate {:g}", steps_, rate_), {}, static_cast<int>(noises_.size()), true};
  double extent = 0;
  for (size_t n = 0; n < noises_.size(); ++n) {
    const Matrix root = symmetric_root(noise_covariance(a, noises_[n]));
    Normals normals(seed_, trajectory_stream + static_cast<uint32_t>(n));
    Series path{fmt::format("every {}th iterate", plot_every_), {}, {}};
    path.style = SeriesStyle::path;
    path.colour = 5;
    double x = start_[0], y = start_[1];
    for (int64_t k = 0; k <= steps_; ++k) {
      if (k % plot_every_ == 0) {
        path.x.push_back(x);
        path.y.push_back(y);
        extent = std::max({extent, std::abs(x), std::abs(y)});
      }
      const double xi = normals.next(), eta = normals.next();
      const double gx = a(0, 0) * x + a(0, 1) * y - root(0, 0) * xi - root(0, 1) * eta;
      const double gy = a(1, 0) * x + a(1, 1) * y - root(1, 0) * xi - root(1, 1) * eta;
      x -= rate_ * gx;
      y -= rate_ * gy;
    }
    const auto marker = [](std::string name, double at_x, double at_y, int colour) {
      return Series{std::move(name), {at_x}, {at_y}, {}, {}, SeriesStyle::marker, colour};
    };
    Panel panel{name_of(noises_[n]), {"θ₁"}, {n == 0 ? "θ₂" : ""}, {}, true};
    panel.series = {path, marker("start", path.x.front(), path.y.front(), 0),
                    marker("end", path.x.back(), path.y.back(), 2)};
    figure.panels.push_back(std::move(panel));
  }
  extent *= 1.08;
  std::vector<Series> contours;
  for (double loss = 0.5; loss < 200; loss *= 4) contours.push_back(contour(spectrum_, loss));
  for (Panel& panel : figure.panels) {
    panel.x.range = panel.y.range = {-extent, extent};
    panel.series.insert(panel.series.begin(), contours.begin(), contours.end());
  }
  return figure;
}

void Quadratic::run(AnalysisOutput& output) {
  output.figure("trajectories", trajectories());
  const Matrix a = matrix_of(spectrum_);
  SampledRuns sampling{runs_, std::vector<double>(static_cast<size_t>(steps_), rate_), {}, seed_};
  for (int64_t k = 0; k <= steps_; k += std::max<int64_t>(1, steps_ / 25)) sampling.record.push_back(k);
  const int64_t last = sampling.record.back();
  Figure figure{"Expected loss", {{"", {"iteration"}, {"E L(θ)", "", true}, {}}}};
  std::vector<Series> lines, others;  // in the legend the noises come first
  double highest_stationary = 0;
  for (const NoiseShape noise : noises_)
    highest_stationary =
        std::max(highest_stationary, stationary_loss(spectrum_, noise_along_eigenvectors(spectrum_, noise), rate_));
  for (size_t n = 0; n < noises_.size(); ++n) {
    const int colour = static_cast<int>(n);
    const std::string name = name_of(noises_[n]);
    const std::vector<double> q = noise_along_eigenvectors(spectrum_, noises_[n]);
    ExpectedLoss expected(spectrum_, q, start_);
    Series exact{name + ", exact", {}, {}};
    exact.colour = colour;
    int64_t reached = -1;
    double at_last = 0;
    for (int64_t k = 0; k <= steps_; ++k, expected.step(rate_)) {
      if (reached < 0 && expected.value() <= 1.1 * highest_stationary) reached = k;
      if (k == last) at_last = expected.value();
      exact.x.push_back(static_cast<double>(k));
      exact.y.push_back(expected.value());
    }
    sampling.stream = runs_stream + static_cast<uint32_t>(n);
    const SampledLoss sampled = sample_loss(a, symmetric_root(noise_covariance(a, noises_[n])), start_, sampling);
    Series mean{fmt::format("mean of {} runs", runs_), {}, sampled.mean};
    mean.style = SeriesStyle::marker;
    mean.colour = colour;
    for (const int64_t k : sampling.record) mean.x.push_back(static_cast<double>(k));
    const double stationary = stationary_loss(spectrum_, q, rate_);
    Series limit{"stationary value", {0, static_cast<double>(steps_)}, {stationary, stationary}};
    limit.style = SeriesStyle::dashed;
    limit.colour = colour;
    lines.push_back(exact);
    others.insert(others.end(), {mean, limit});
    output.number(name + ": stationary loss", stationary);
    output.number(fmt::format("{}: expected loss after {} iterations", name, last), at_last);
    output.number(fmt::format("{}: mean loss of {} runs then", name, runs_), sampled.mean.back());
    output.number(fmt::format("{}: its standard error", name), sampled.standard_error.back());
    output.number(fmt::format("{}: iterations to an expected loss of {:.3f}", name, 1.1 * highest_stationary),
                  reached < 0 ? NAN : static_cast<double>(reached));
    double distance = 0;
    for (size_t i = 0; i < 2; ++i)
      distance += rate_ * q[i] / (spectrum_.eigenvalues[i] * (2 - rate_ * spectrum_.eigenvalues[i]));
    output.number(name + ": stationary mean squared distance to the minimum", distance);
  }
  figure.panels[0].series = lines;
  figure.panels[0].series.insert(figure.panels[0].series.end(), others.begin(), others.end());
  output.figure("expected_loss", figure);
}

}  // namespace noisysgd
