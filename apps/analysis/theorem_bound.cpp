#include <noisysgd/apps/analysis/theorem_bound.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace noisysgd {
namespace {

// About 12 in each decade, from 0 on.
std::vector<int64_t> logarithmic_steps(int64_t last) {
  std::vector<int64_t> steps{0};
  for (double k = 1; k < static_cast<double>(last); k *= std::pow(10, 1.0 / 12)) {
    const auto step = static_cast<int64_t>(std::llround(k));
    if (step > steps.back()) steps.push_back(step);
  }
  if (steps.back() < last) steps.push_back(last);
  return steps;
}

// theta_0 with this loss and equal components along all eigenvectors.
std::vector<double> start_of(const Spectrum& spectrum, double loss) {
  double sum = 0;
  for (const double eigenvalue : spectrum.eigenvalues) sum += eigenvalue;
  Matrix ones(static_cast<int64_t>(spectrum.eigenvalues.size()), 1);
  std::fill(ones.values.begin(), ones.values.end(), std::sqrt(2 * loss / sum));
  return (spectrum.vectors * ones).values;
}

}  // namespace

TheoremSchedule::TheoremSchedule(const Spectrum& spectrum) {
  const auto [low, high] = std::minmax_element(spectrum.eigenvalues.begin(), spectrum.eigenvalues.end());
  smallest_ = *low;
  gamma_ = 2 * *high / *low;
}

double TheoremSchedule::bound(int64_t k, const Spectrum& spectrum, const std::vector<double>& noise,
                              double start_loss) const {
  double trace = 0;  // Tr(C'AC) = sum lambda q
  for (size_t i = 0; i < noise.size(); ++i) trace += spectrum.eigenvalues[i] * noise[i];
  return std::max(2 * trace / (smallest_ * smallest_), gamma_ * start_loss) / (static_cast<double>(k) + gamma_);
}

double TheoremSchedule::limit(const Spectrum& spectrum, const std::vector<double>& noise) const {
  const double c = 2 / smallest_;
  double sum = 0;
  for (size_t i = 0; i < noise.size(); ++i)
    sum += spectrum.eigenvalues[i] * noise[i] / (2 * c * spectrum.eigenvalues[i] - 1);
  return c * c / 2 * sum;
}

std::unique_ptr<Analysis> TheoremBound::read(const AnalysisInput& input) {
  const ConfigReader& json = input.json;
  std::unique_ptr<TheoremBound> analysis(new TheoremBound(read_quadratic(json, input.seed)));
  const double largest = analysis->spectrum_.eigenvalues.back();
  analysis->noises_ = read_noises(json, {"full", "diagonal", "isotropic"});
  analysis->start_loss_ = json.number("start_loss", {.default_value = 1, .at_least = 0});
  analysis->steps_ = json.integer("steps", {.default_value = 100'000, .at_least = 1, .at_most = 10'000'000});
  analysis->constant_rate_ = json.optional_number("rate", {.above = 0}).value_or(1 / largest);
  if (!(analysis->constant_rate_ < 2 / largest))
    json.error("rate",
               fmt::format("expected a rate below 2 / largest eigenvalue = {:.4g}; others diverge", 2 / largest));
  const ConfigReader sampled = json.object("monte_carlo");
  analysis->sampled_runs_ = sampled.integer("runs", {.default_value = 200, .at_least = 2, .at_most = 100'000});
  analysis->sampled_steps_ = sampled.integer("steps", {.default_value = 1000, .at_least = 0, .at_most = 1'000'000});
  analysis->seed_ = input.seed;
  return analysis;
}

void TheoremBound::run(AnalysisOutput& output) {
  const TheoremSchedule schedule(spectrum_);
  const std::vector<int64_t> recorded = logarithmic_steps(steps_);
  const std::vector<double> start = start_of(spectrum_, start_loss_);
  const Matrix a = matrix_of(spectrum_);
  SampledRuns sampling{sampled_runs_, {}, {}, seed_};
  sampled_steps_ = std::min(sampled_steps_, steps_);
  for (int64_t k = 0; k < sampled_steps_; ++k) sampling.rates.push_back(schedule.rate(k));
  for (size_t i = 0; i < recorded.size(); i += 3)
    if (recorded[i] > 0 && recorded[i] <= sampled_steps_) sampling.record.push_back(recorded[i]);

  Figure figure{
      fmt::format("Theorem 4.1, d = {}, λmax/λmin = {:.3g}", spectrum_.eigenvalues.size(), schedule.gamma() / 2),
      {{"decreasing rate; dashed: bound", {"iteration k", "", true}, {"E L(θ)", "", true}, {}},
       {"times k + γ; dashed: limit", {"iteration k", "", true}, {"(k + γ) E L(θ)", "", true}, {}},
       {fmt::format("constant rate {:.3g}; dashed: limit", constant_rate_), {"iteration k", "", true}, {"E L(θ)", "", true}, {}}},
      3};
  output.number("gamma", schedule.gamma());
  std::vector<std::vector<double>> every_loss(noises_.size());
  std::array<std::vector<Series>, 3> others;  // in the legend the noises come first
  for (size_t n = 0; n < noises_.size(); ++n) {
    const int colour = static_cast<int>(n);
    const std::string name = name_of(noises_[n]);
    const std::vector<double> q = noise_along_eigenvectors(spectrum_, noises_[n]);
    const auto series = [&](std::string title, SeriesStyle style) {
      Series made{std::move(title), {}, {}};
      made.style = style;
      made.colour = colour;
      return made;
    };
    Series exact = series(name, SeriesStyle::line), scaled = exact, constant = exact;
    Series bound = series("bound", SeriesStyle::dashed), limit = series("limit", SeriesStyle::dashed);
    bound.detail = limit.detail = name;
    Series stationary = limit, sampled = series(fmt::format("mean of {} runs", sampled_runs_), SeriesStyle::marker);
    ExpectedLoss decreasing(spectrum_, q, start), steady = decreasing;
    double tightest = INFINITY;
    size_t next = 0;
    for (int64_t k = 0; k <= steps_; ++k) {
      const double loss = decreasing.value();
      every_loss[n].push_back(loss);
      tightest = std::min(tightest, schedule.bound(k, spectrum_, q, start_loss_) / loss);
      if (recorded[next] == k) {
        ++next;
        if (k > 0) {
          const auto at = static_cast<double>(k);
          for (Series* s : {&exact, &bound, &scaled, &constant}) s->x.push_back(at);
          exact.y.push_back(loss);
          bound.y.push_back(schedule.bound(k, spectrum_, q, start_loss_));
          scaled.y.push_back((at + schedule.gamma()) * loss);
          constant.y.push_back(steady.value());
        }
      }
      decreasing.step(schedule.rate(k));
      steady.step(constant_rate_);
    }
    limit.x = stationary.x = {1, static_cast<double>(steps_)};
    limit.y.assign(2, schedule.limit(spectrum_, q));
    stationary.y.assign(2, stationary_loss(spectrum_, q, constant_rate_));
    const std::array<const Series*, 3> line{&exact, &scaled, &constant}, dashed{&bound, &limit, &stationary};
    for (size_t p = 0; p < 3; ++p) {
      figure.panels[p].series.push_back(*line[p]);
      others[p].push_back(*dashed[p]);
    }
    sampled.detail = name;
    if (!sampling.record.empty()) {
      sampling.stream = static_cast<uint32_t>(n);
      const SampledLoss losses = sample_loss(a, symmetric_root(noise_covariance(a, noises_[n])), start, sampling);
      double worst = 0;
      for (size_t i = 0; i < sampling.record.size(); ++i) {
        sampled.x.push_back(static_cast<double>(sampling.record[i]));
        sampled.y.push_back(losses.mean[i]);
        const double expected = every_loss[n][static_cast<size_t>(sampling.record[i])];
        worst = std::max(worst, std::abs(losses.mean[i] - expected) / losses.standard_error[i]);
      }
      others[0].push_back(sampled);
      output.number(name + ": largest difference of Monte Carlo and recursion in standard errors", worst);
    }
    output.number(name + ": smallest bound / expected loss", tightest);
    output.number(fmt::format("{}: bound / expected loss after {} iterations", name, steps_),
                  bound.y.back() / exact.y.back());
    output.number(name + ": limit of k E L", schedule.limit(spectrum_, q));
    output.number(fmt::format("{}: k E L after {} iterations", name, steps_),
                  static_cast<double>(steps_) * exact.y.back());
    output.number(name + ": stationary loss at the constant rate", stationary.y.front());
  }
  const auto full = std::find(noises_.begin(), noises_.end(), NoiseShape::full);
  const auto diagonal = std::find(noises_.begin(), noises_.end(), NoiseShape::diagonal);
  if (full != noises_.end() && diagonal != noises_.end()) {
    const auto& f = every_loss[static_cast<size_t>(full - noises_.begin())];
    const auto& d = every_loss[static_cast<size_t>(diagonal - noises_.begin())];
    int64_t crossing = steps_ + 1;  // from here on the full Fisher has the lower loss
    while (crossing > 0 && f[static_cast<size_t>(crossing - 1)] < d[static_cast<size_t>(crossing - 1)]) --crossing;
    output.number("iteration from which on full Fisher has the lower expected loss (decreasing rate)",
                  crossing > steps_ ? NAN : static_cast<double>(crossing));
  }
  for (size_t p = 0; p < 3; ++p)
    figure.panels[p].series.insert(figure.panels[p].series.end(), others[p].begin(), others[p].end());
  output.figure("theorem", figure);
}

}  // namespace noisysgd
