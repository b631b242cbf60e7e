#include <noisysgd/apps/analysis/stability.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include <noisysgd/apps/analysis/dense.h>
#include <noisysgd/apps/analysis/normals.h>

namespace noisysgd {
namespace {

// Of the inputs' covariance. Beyond it rounding reaches the digits that are shown.
constexpr double most_condition = 1e8;

Eigen::LLT<Dense> cholesky(const Dense& covariance) {
  Eigen::LLT<Dense> factor(covariance);
  NSGD_CHECK(factor.info() == Eigen::Success, "Hellinger distance: a covariance is not positive definite");
  return factor;
}

double log_determinant(const Eigen::LLT<Dense>& factor) {
  return 2 * factor.matrixLLT().diagonal().array().log().sum();
}

std::vector<double> logarithmic_grid(double low, double high, int count) {
  std::vector<double> grid;
  for (int i = 0; i < count; ++i) grid.push_back(low * std::pow(high / low, static_cast<double>(i) / (count - 1)));
  return grid;
}

// Median, smallest and largest.
void add_spread(Series& series, double x, std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  series.x.push_back(x);
  series.y.push_back(values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2);
  series.low.push_back(values.front());
  series.high.push_back(values.back());
}

// The time from which on the second is above the first; NaN if it never is.
double crossing(const Series& first, const Series& second) {
  size_t i = first.y.size();
  while (i > 0 && second.y[i - 1] > first.y[i - 1]) --i;
  return i < first.x.size() ? first.x[i] : NAN;
}

}  // namespace

Gaussian process_at(double time, const Spectrum& a, const Matrix& noise, double rate,
                    const std::vector<double>& start) {
  const auto p = view(a.vectors);
  const Eigen::VectorXd decay = (-time * view(a.eigenvalues).array()).exp();
  const Eigen::VectorXd mean = p * decay.asDiagonal() * (p.transpose() * view(start));
  Dense rotated = p.transpose() * view(noise) * p;
  for (Eigen::Index i = 0; i < rotated.rows(); ++i)
    for (Eigen::Index j = 0; j < rotated.cols(); ++j) {
      const double sum = a.eigenvalues[static_cast<size_t>(i)] + a.eigenvalues[static_cast<size_t>(j)];
      rotated(i, j) *= rate * (sum > 0 ? -std::expm1(-sum * time) / sum : time);
    }
  const Dense covariance = p * rotated * p.transpose();
  Gaussian result{{mean.begin(), mean.end()}, Matrix(noise.rows, noise.rows)};
  Eigen::Map<Dense>(result.covariance.values.data(), noise.rows, noise.rows) =
      (covariance + covariance.transpose()) / 2;
  return result;
}

double hellinger_squared(const Gaussian& p, const Gaussian& q) {
  const Dense middle = (view(p.covariance) + view(q.covariance)) / 2;
  const auto factor = cholesky(middle);
  const Eigen::VectorXd difference = view(p.mean) - view(q.mean);
  const double distance = factor.matrixL().solve(difference).squaredNorm();
  const double exponent = log_determinant(cholesky(view(p.covariance))) / 4 +
                          log_determinant(cholesky(view(q.covariance))) / 4 - log_determinant(factor) / 2 -
                          distance / 8;
  return std::max(0.0, -std::expm1(exponent));  // rounding may leave it below 0
}

std::unique_ptr<Analysis> Stability::read(const AnalysisInput& input) {
  const ConfigReader& json = input.json;
  std::unique_ptr<Stability> analysis(new Stability(read_quadratic(json, input.seed)));
  const auto dimension = static_cast<int64_t>(analysis->inputs_.eigenvalues.size());
  const auto [smallest, largest] = std::ranges::minmax(analysis->inputs_.eigenvalues);
  if (largest > most_condition * smallest)
    json.error(json.has("matrix") ? "matrix" : "spectrum",
               fmt::format("the largest eigenvalue is {:.2g} times the smallest; distances are computed exactly enough "
                           "up to {:.0g}", largest / smallest, most_condition));
  analysis->samples_ = json.integer("samples", {.default_value = 100, .at_least = 2, .at_most = 100'000});
  if (analysis->samples_ <= dimension)
    json.error("samples",
               fmt::format("expected more samples than the {} dimensions, for a Hessian of full rank", dimension));
  analysis->pairs_ = json.integer("pairs", {.default_value = 20, .at_least = 1, .at_most = 1000});
  analysis->noises_ = read_noises(json, {"full", "diagonal", "identity"});
  analysis->rate_ = json.number("rate", {.default_value = 0.1, .above = 0});
  analysis->start_ = json.number("start", {.default_value = 1, .at_least = 0});
  analysis->scale_times_ = json.numbers(
      "scale_times",
      {.default_value = std::vector<double>{0.1, 10}, .length = {.at_least = 1, .at_most = 3}, .each = {.above = 0}});
  analysis->seed_ = input.seed;
  return analysis;
}

void Stability::run(AnalysisOutput& output) {
  // Inputs x with the covariance of the configuration; the Hessian of the linear regression is A = (1/N) sum x x'.
  const auto d = static_cast<int64_t>(inputs_.eigenvalues.size());
  Normals normals(seed_, 0);
  const Matrix root = symmetric_root(matrix_of(inputs_));
  const auto draw = [&] {
    Eigen::VectorXd z(d);
    for (Eigen::Index i = 0; i < d; ++i) z[i] = normals.next();
    return Eigen::VectorXd(view(root) * z);
  };
  std::vector<Eigen::VectorXd> data;
  Dense sum = Dense::Zero(d, d);
  for (int64_t n = 0; n < samples_; ++n) {
    data.push_back(draw());
    sum += data.back() * data.back().transpose();
  }
  const auto hessian = [&](const Dense& of) {
    Matrix a(d, d);
    Eigen::Map<Dense>(a.values.data(), d, d) = of / static_cast<double>(samples_);
    return a;
  };
  const Matrix a = hessian(sum);
  const Spectrum spectrum = spectrum_of(a);
  std::vector<std::pair<Matrix, Spectrum>> others;  // sample n replaced by a new one
  for (int64_t pair = 0; pair < pairs_; ++pair) {
    const auto& old = data[static_cast<size_t>(pair % samples_)];
    const Eigen::VectorXd fresh = draw();
    const Matrix other = hessian(sum - old * old.transpose() + fresh * fresh.transpose());
    others.emplace_back(other, spectrum_of(other));
  }
  const std::vector<double> start(static_cast<size_t>(d), start_);
  // H^2 of every pair at one time; without_mean: of Gaussians with mean 0.
  const auto distances = [&](NoiseShape noise, double time, double scale, bool without_mean) {
    const double rate = rate_ * scale * scale;
    const std::vector<double> from = without_mean ? std::vector<double>(static_cast<size_t>(d)) : start;
    const Gaussian here = process_at(time, spectrum, noise_covariance(a, noise), rate, from);
    std::vector<double> values;
    for (const auto& [matrix, other] : others)
      values.push_back(hellinger_squared(here, process_at(time, other, noise_covariance(matrix, noise), rate, from)));
    return values;
  };

  const double slowest = 1 / spectrum.eigenvalues.front();
  const std::vector<double> times = logarithmic_grid(1e-3 / spectrum.eigenvalues.back(), 30 * slowest, 60);
  const std::vector<double> scales = logarithmic_grid(0.01, 10, 40);
  Figure figure{fmt::format("One of {} samples replaced, d = {}", samples_, d),
                {{"Hellinger distance", {"time t", "", true}, {"H²", "", true}, {}},
                 {"equal means", {"time t", "", true}, {"H²", "", true}, {}},
                 {"noise λC", {"scale λ", "", true}, {"H²", "", false, std::pair{0.0, 1.05}}, {}}},
                3};
  figure.panels[0].y.range = figure.panels[1].y.range = {1e-8, 1};
  std::vector<Series> total, determinants;
  for (size_t n = 0; n < noises_.size(); ++n) {
    const auto series = [&](std::string name) {
      Series made{std::move(name), {}, {}};
      made.colour = static_cast<int>(n);
      return made;
    };
    const std::string name = name_of(noises_[n]);
    Series with_mean = series(name), equal_mean = with_mean;
    for (const double time : times) {
      add_spread(with_mean, time, distances(noises_[n], time, 1, false));
      add_spread(equal_mean, time, distances(noises_[n], time, 1, true));
    }
    for (size_t i = 0; i < scale_times_.size(); ++i) {
      Series scaled = series(i == 0 ? name : fmt::format("t = {:g}", scale_times_[i]));
      scaled.style = i == 0 ? SeriesStyle::line : i == 1 ? SeriesStyle::dashed : SeriesStyle::path;
      for (const double scale : scales) add_spread(scaled, scale, distances(noises_[n], scale_times_[i], scale, false));
      scaled.low.clear();
      scaled.high.clear();
      figure.panels[2].series.push_back(scaled);
    }
    output.number(fmt::format("{}: median H² at t = {:.2g}", name, times.front()), with_mean.y.front());
    output.number(fmt::format("{}: median H² at t = {:.3g}", name, times.back()), with_mean.y.back());
    output.number(fmt::format("{}: median H² at t = {:.2g}, equal means", name, times.front()), equal_mean.y.front());
    output.number(fmt::format("{}: median H² at t = {:.3g}, equal means", name, times.back()), equal_mean.y.back());
    total.push_back(with_mean);
    determinants.push_back(equal_mean);
  }
  figure.panels[0].series = total;
  figure.panels[1].series = determinants;
  figure.panels[2].title = fmt::format("noise λC; solid: t = {:g}", scale_times_[0]);
  const auto place = [&](NoiseShape noise) {
    return static_cast<size_t>(std::find(noises_.begin(), noises_.end(), noise) - noises_.begin());
  };
  const size_t full = place(NoiseShape::full), identity = place(NoiseShape::identity);
  if (full < noises_.size() && identity < noises_.size()) {
    output.number("time from which on the identity has the larger H²", crossing(total[full], total[identity]));
    output.number("the same with equal means", crossing(determinants[full], determinants[identity]));
  }
  output.figure("hellinger", figure);
}

}  // namespace noisysgd
