#include <noisysgd/apps/analysis/hessian.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/spread.h>
#include <noisysgd/layers/temperature.h>

namespace noisysgd {

// What is found of one run.
struct HessianSpectrum::Ends {
  ExtremeEigenvalues eigenvalues;
  double temperature = 1;
  SpectralDensity density;  // empty: not asked for
};

namespace {

constexpr int density_points = 400;

// The images of a set in their order, as they are, in parts.
AllBatches batches_of(const Loader& loader, int64_t size) {
  return [&loader, size](const std::function<void(const Batch&)>& visit) {
    for (int64_t begin = 0; begin < loader.count(); begin += size)
      visit(loader.ordered(begin, std::min(loader.count(), begin + size)));
  };
}

// Density by eigenvalue over the range of all runs of a regime, averaged over them.
Series density_series(const std::string& name, const std::vector<SpectralDensity>& densities) {
  double low = INFINITY, high = -INFINITY;
  for (const SpectralDensity& density : densities)
    for (const double node : density.nodes) low = std::min(low, node), high = std::max(high, node);
  const double deviation = (high - low) / 100, step = 1.1 * (high - low) / density_points;
  Series series{.name = name, .x = {}, .y = {}};
  for (int i = 0; i <= density_points; ++i) {
    const double x = low - 0.05 * (high - low) + step * i;
    double y = 0;
    for (const SpectralDensity& density : densities) y += density.at(x, deviation);
    y /= static_cast<double>(densities.size());
    series.x.push_back(x);
    series.y.push_back(std::max(y, 1e-10));  // the axis is logarithmic
  }
  return series;
}

}  // namespace

SymmetricOperator mean_curvature(Model& model, const Batch& batch, const CurvatureOptions& options) {
  const auto multiply = [&model, batch, options](std::span<const double> x, std::span<double> product) {
    Context& context = model.context();
    const Block direction(context, model.parameter_set()), sum(context, model.parameter_set());
    std::vector<float> block(static_cast<size_t>(model.parameter_set().padded()));
    size_t next = 0;
    for (const Parameter* parameter : model.parameters())
      for (int64_t i = 0; i < parameter->shape.elements(); ++i)
        block[static_cast<size_t>(parameter->offset + i)] = static_cast<float>(x[next++]);
    copy_from_host<float>(context, block, direction.all());
    CurvatureProduct(model, options).add(batch, direction, sum);
    const std::vector<float> sums = to_host<float>(context, sum.all());
    next = 0;
    for (const Parameter* parameter : model.parameters())
      for (int64_t i = 0; i < parameter->shape.elements(); ++i)
        product[next++] = double{sums[static_cast<size_t>(parameter->offset + i)]} / static_cast<double>(batch.size());
  };
  return {model.parameter_set().elements(), multiply};
}

std::unique_ptr<Analysis> HessianSpectrum::read(const AnalysisInput& input) {
  const ConfigReader& json = input.json;
  std::unique_ptr<HessianSpectrum> analysis(new HessianSpectrum(AnalysedRuns::read(input)));
  using enum CurvatureMatrix;
  analysis->matrix_ = json.choice<CurvatureMatrix>(
      "matrix", {{"hessian", hessian}, {"gauss_newton", gauss_newton}, {"fisher", fisher}}, hessian);
  analysis->samples_ = json.integer("samples", {.default_value = 10'000, .at_least = 1});
  analysis->pass_ = json.integer("pass", {.default_value = 1000, .at_least = 1});
  analysis->folds_ = json.boolean("fold_batch_norm", true);
  const ConfigReader temperature = json.object("temperature");
  analysis->temperature_ = temperature.choice<Temperature>(
      "set", {{"test", Temperature::test}, {"train", Temperature::train}, {"none", Temperature::none}},
      Temperature::test);
  const ConfigReader lanczos = json.object("lanczos");
  LanczosOptions& options = analysis->lanczos_;
  options.starts = lanczos.integer("starts", {.default_value = options.starts, .at_least = 1, .at_most = 100});
  options.subspace = lanczos.integer("subspace", {.default_value = options.subspace, .at_least = 3, .at_most = 1000});
  options.restarts = lanczos.integer("restarts", {.default_value = options.restarts, .at_least = 1});
  options.tolerance = lanczos.number("tolerance", {.default_value = options.tolerance, .above = 0, .below = 1});
  const ConfigReader density = json.object("density");
  analysis->density_.probes = density.integer("probes", {.default_value = 1, .at_least = 0, .at_most = 1000});
  analysis->density_.steps = density.integer("steps", {.default_value = 80, .at_least = 2, .at_most = 1000});
  return analysis;
}

HessianSpectrum::Ends HessianSpectrum::measure(const SuiteRun& run, AnalysisOutput& output) {
  Context& context = runs_.context();
  const auto data = runs_.data(run.regime);
  Model trained = make_model(context, run.regime, *data, runs_.extensions());
  for (Parameter* parameter : trained.parameters()) parameter->frozen = false;  // its curvature is part of the loss's
  const BatchSchedule schedule = run.regime.batch_schedule(data->sets.train.count, trained.coupling());
  set_state(trained, run.regime, run.seed, runs_.states(run, schedule).back());
  Model model = folds_ ? std::move(trained).fold_batch_norm() : std::move(trained);
  context.queue.set_precision(kernels::Precision::fp32);

  Ends ends;
  CurvatureOptions options{.matrix = matrix_, .targets = Targets::label, .micro_batch = pass_};
  const Loader train(context, data->sets.train, data->normalisation);
  if (temperature_ != Temperature::none) {
    const Dataset& set = temperature_ == Temperature::test ? data->sets.test : data->sets.train;
    const Loader images(context, set, data->normalisation);
    try {
      options.inverse_temperature = fit_inverse_temperature(model, batches_of(images, run.regime.evaluation_batch));
    } catch (const Error& error) {
      throw Error(fmt::format("{} (analysis.temperature.set \"none\" fits none)", error.what()));
    }
  }
  ends.temperature = 1 / options.inverse_temperature;
  const Batch batch = train.ordered(0, std::min(samples_, train.count()));
  const SymmetricOperator curvature = mean_curvature(model, batch, options);
  LanczosOptions lanczos = lanczos_;
  lanczos.seed = run.seed;
  ends.eigenvalues = extreme_eigenvalues(curvature, lanczos);
  const auto& [largest, smallest, largest_difference, smallest_difference, converged, products] = ends.eigenvalues;
  output.line(fmt::format("{}: largest {:.5g} ± {:.1g}, smallest {:.4g} ± {:.1g}\n  starts differ by {:.1g}; temperature "
                          "{:.3f}; {} products",
                          label_of(run), largest.value, largest.residual, smallest.value, smallest.residual,
                          largest_difference, ends.temperature, products));
  if (!converged)
    output.line("  NOT CONVERGED: raise analysis.lanczos.restarts or analysis.lanczos.subspace");
  if (density_.probes > 0) {
    DensityOptions density = density_;
    density.seed = run.seed;
    ends.density = spectral_density(curvature, density);
  }
  return ends;
}

void HessianSpectrum::run(AnalysisOutput& output) {
  std::vector<std::string> regimes;
  std::map<std::string, std::vector<Ends>> found;
  for (const SuiteRun& run : runs_.make(output)) {
    try {
      const Ends ends = measure(run, output);
      if (!found.contains(run.regime.name)) regimes.push_back(run.regime.name);
      found[run.regime.name].push_back(ends);
    } catch (const Error& error) {
      output.problem(fmt::format("{}: is not measured: {}", label_of(run), error.what()));
    }
  }
  const std::string matrix = matrix_ == CurvatureMatrix::hessian        ? "the Hessian"
                             : matrix_ == CurvatureMatrix::gauss_newton ? "the Gauss-Newton matrix"
                                                                        : "the Fisher matrix";
  Figure largest{.title = "Largest eigenvalue of " + matrix,
                 .panels = {{"", {"regime"}, {"largest eigenvalue"}, {}}},
                 .legend = false};
  Figure densities{.title = "Density of the eigenvalues of " + matrix,
                   .panels = {{"", {"eigenvalue"}, {"density", "", true}, {}}}};
  double place = 1;
  for (const std::string& regime : regimes) {
    std::vector<double> tops, bottoms, temperatures, residuals;
    std::vector<SpectralDensity> of_regime;
    for (const Ends& ends : found[regime]) {
      tops.push_back(ends.eigenvalues.largest.value);
      bottoms.push_back(ends.eigenvalues.smallest.value);
      residuals.push_back(ends.eigenvalues.largest.residual);
      temperatures.push_back(ends.temperature);
      if (!ends.density.nodes.empty()) of_regime.push_back(ends.density);
    }
    const auto top = spread_of(tops);
    const std::string name = regime.empty() ? "run" : regime;
    largest.panels[0].x.names.push_back(name);
    // The mean as a short line in its band, and every seed.
    Series mean{.name = name, .x = {place - 0.25, place + 0.25}, .y = {top.mean, top.mean}};
    if (tops.size() > 1) {
      mean.low.assign(2, top.mean - top.deviation);
      mean.high.assign(2, top.mean + top.deviation);
    }
    mean.detail = "mean";
    Series seeds{.name = name, .x = std::vector<double>(tops.size(), place), .y = tops, .style = SeriesStyle::marker};
    seeds.detail = "seeds";
    largest.panels[0].series.insert(largest.panels[0].series.end(), {mean, seeds});
    ++place;
    output.number(name + ": largest eigenvalue, mean over seeds", top.mean);
    if (tops.size() > 1) output.number(name + ": its standard deviation over seeds", top.deviation);
    output.number(name + ": largest residual", *std::max_element(residuals.begin(), residuals.end()));
    output.number(name + ": smallest eigenvalue, mean over seeds", spread_of(bottoms).mean);
    output.number(name + ": temperature, mean over seeds", spread_of(temperatures).mean);
    if (!of_regime.empty()) densities.panels[0].series.push_back(density_series(name, of_regime));
  }
  NSGD_CHECK(!regimes.empty(), "{}", fmt::format("{}", fmt::join(output.problems(), "\n")));
  largest.panels[0].x.range = {0.5, place - 0.5};
  output.figure("largest_eigenvalue", largest);
  if (density_.probes > 0) output.figure("density", densities);
}

}  // namespace noisysgd
