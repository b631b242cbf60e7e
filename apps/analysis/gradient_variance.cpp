#include <noisysgd/apps/analysis/gradient_variance.h>

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <optional>

#include <noisysgd/apps/analysis/frozen_network.h>
#include <noisysgd/optim/fisher.h>

namespace noisysgd {

namespace {

// Of the whole training set at the frozen network, laid out as a Block.
struct PopulationMoments {
  std::vector<double> fisher;      // diag F: mean of g_n^2
  std::vector<double> covariance;  // diag S^2, divided by N - 1
};

PopulationMoments population_moments(FrozenNetwork& network, uint64_t seed) {
  Model& model = network.model();
  Context& context = network.context();
  const Sums sums{.gradient = Block(context, model.parameter_set()),
                  .second_moment = Block(context, model.parameter_set())};
  const int64_t images = model.coupling().usable(network.training_images());
  const int64_t pass = network.pass_of(network.regime().batch.size);
  for (int64_t begin = 0; begin < images; begin += pass) {
    const Batch batch = network.part_of_epoch(begin, std::min(pass, images - begin), seed);
    const BackwardJob job{.collect = {.second_moment = SecondMoment::exact}, .into = sums};
    model.accumulate(batch, {.samples = {seed, 0, begin}}, {&job, 1});
  }
  const std::vector<float> sum = to_host<float>(context, sums.gradient.all()),
                           squares = to_host<float>(context, sums.second_moment.all());
  const auto n = static_cast<double>(images);
  PopulationMoments moments{std::vector<double>(sum.size()), std::vector<double>(sum.size())};
  for (size_t i = 0; i < sum.size(); ++i) {
    const double total = sum[i], square = squares[i];
    moments.fisher[i] = square / n;
    moments.covariance[i] = std::max(0.0, (square - total * total / n) / (n - 1));
  }
  return moments;
}

// Noise of this regime has the variance of so many times diag F, the exact one of the data's labels, in every
// parameter; nothing: there is no such formula for it.
std::optional<double> fisher_factor(const Regime& regime, int64_t samples) {
  if (!regime.noise.active() || !regime.noise.acts_on(samples)) return 0;
  const NoiseOptions& options = regime.noise.options();
  const Json& noise = regime.effective.at("noise");
  const FisherOptions& fisher = regime.fisher;
  const bool diagonal = options.type == "diagonal_fisher" && fisher.conv == SecondMoment::exact && !fisher.centered &&
                        fisher.batch_norm == GhostFisher::activation;
  const bool full = options.type == "full_fisher" && noise.at("signs") == "rademacher" && !noise.at("centered");
  const bool everywhere = options.parameters == std::vector<std::string>{"*"} && !options.match_trace;
  if (!(diagonal || full) || !everywhere || fisher.labels != Labels::data) return {};
  const Json& large = noise.at("large_batch");
  const int64_t large_batch = large.is_null() ? samples : large.get<int64_t>();
  return noise_kappa(large_batch, noise.at("small_batch").get<int64_t>()) * options.scale * options.scale;
}

}  // namespace

void RunningVariance::add(std::span<const float> values) {
  NSGD_CHECK(values.size() == mean_.size(), "{} values added to the variance of {}", values.size(), mean_.size());
  ++count_;
  for (size_t i = 0; i < values.size(); ++i) {
    const double deviation = values[i] - mean_[i];
    mean_[i] += deviation / static_cast<double>(count_);
    squares_[i] += deviation * (values[i] - mean_[i]);
  }
}

std::vector<double> layer_means(const std::vector<Parameter*>& parameters, const std::vector<double>& values) {
  std::vector<double> means;
  std::string layer;
  int64_t elements = 0;
  for (const Parameter* parameter : parameters) {
    if (means.empty() || layer != layer_name(*parameter)) {
      layer = layer_name(*parameter);
      means.push_back(0);
      elements = 0;
    }
    double sum = means.back() * static_cast<double>(elements);
    for (int64_t i = 0; i < parameter->shape.elements(); ++i) sum += values[static_cast<size_t>(parameter->offset + i)];
    elements += parameter->shape.elements();
    means.back() = sum / static_cast<double>(elements);
  }
  return means;
}

std::unique_ptr<Analysis> GradientVariance::read(const AnalysisInput& input) {
  std::unique_ptr<GradientVariance> analysis(new GradientVariance(AnalysedRuns::read(input)));
  analysis->batches_ = input.json.integer("batches", {.default_value = 100, .at_least = 2, .at_most = 100'000});
  analysis->frozen_ = input.json.string("frozen", "");
  if (!analysis->frozen_.empty()) try {
      analysis->runs_.regime(analysis->frozen_);
    } catch (const Error& error) {
      input.json.error("frozen", error.what());
    }
  return analysis;
}

std::pair<std::vector<Regime>, uint64_t> GradientVariance::selected() const {
  for (const uint64_t seed : runs_.experiment().seeds) {
    std::vector<Regime> regimes;
    for (const Regime& regime : runs_.experiment().regimes)
      if (runs_.includes(regime, seed)) regimes.push_back(regime);
    if (!regimes.empty()) return {std::move(regimes), seed};
  }
  throw Error("analysis.only: selects no run");
}

void GradientVariance::check(const std::vector<Regime>& regimes, const Regime& trained) {
  for (const Regime& regime : regimes) {
    for (const char* key : {"model", "data"})
      NSGD_CHECK(regime.effective.at(key) == trained.effective.at(key),
                 "{}: has another \"{}\" than {}, whose network is measured", label_of(regime), key, label_of(trained));
    const int64_t images = runs_.data(regime)->sets.train.count;
    NSGD_CHECK(regime.batch.size <= images, "{}: batch.size is {}, but there are {} training images", label_of(regime),
               regime.batch.size, images);
  }
}

void GradientVariance::run(AnalysisOutput& output) {
  const Regime& trained = runs_.regime(frozen_);
  const auto [regimes, seed] = selected();
  check(regimes, trained);
  const SuiteRun run = runs_.make_one(output, trained, seed);

  Figure figure{.title = "Variance of gradients", .panels = {{"", {"layer"}, {"mean variance", "", true}, {}}}};
  std::vector<std::string> layers;
  // By the number of samples that normalisation couples, which is what the regimes' networks differ in.
  std::map<int64_t, PopulationMoments> known_moments;
  int colour = 0;
  for (const Regime& regime : regimes) {
    FrozenNetwork network(runs_, regime);
    const BatchSchedule schedule = trained.batch_schedule(network.training_images(), network.model().coupling());
    network.set(seed, runs_.states(run, schedule).back());
    const std::vector<Parameter*> parameters = network.model().parameter_set().trained();
    layers = layer_names(parameters);

    const SampleCoupling& coupling = network.model().coupling();
    const int64_t coupled = coupling.of_whole_batch() ? regime.batch.size : coupling.ghost_size();
    if (!known_moments.contains(coupled)) known_moments[coupled] = population_moments(network, seed);
    const PopulationMoments& moments = known_moments[coupled];
    StepGradients gradients(network, seed);
    RunningVariance variance(static_cast<size_t>(network.model().parameter_set().padded()));
    int64_t samples = 0;
    for (int64_t r = 0; r < batches_; ++r) {
      const auto number = static_cast<uint32_t>(r);
      const Batch batch = network.batch(regime.batch.size, seed, number + 1);
      samples = batch.size();
      gradients.take(batch, number);
      std::vector<float> gradient = gradients.mean_gradient();
      const std::vector<float> noise = gradients.noise();
      for (size_t i = 0; i < gradient.size(); ++i) gradient[i] += noise[i];
      variance.add(gradient);
    }

    std::vector<double> sampled(moments.fisher.size()), expected(moments.fisher.size());
    const double of_batch = 1.0 / static_cast<double>(samples) - 1.0 / static_cast<double>(network.training_images());
    const std::optional<double> factor = fisher_factor(regime, samples);
    for (size_t i = 0; i < sampled.size(); ++i) {
      sampled[i] = variance.variance(i);
      expected[i] = of_batch * moments.covariance[i] + factor.value_or(0) * moments.fisher[i];
    }
    const std::string name = label_of(regime);
    Series points{.name = name, .x = {}, .y = layer_means(parameters, sampled), .style = SeriesStyle::path,
                  .colour = colour};
    // Side by side, as regimes of one variance would hide each other.
    const double shift = 0.08 * (colour - (static_cast<double>(regimes.size()) - 1) / 2);
    for (size_t l = 0; l < points.y.size(); ++l) points.x.push_back(static_cast<double>(l + 1) + shift);
    Series formula{.name = name + ", closed form", .x = points.x, .y = layer_means(parameters, expected),
                   .style = SeriesStyle::dashed, .colour = colour};
    double total = 0, total_expected = 0;
    for (const Parameter* parameter : parameters)
      for (int64_t i = 0; i < parameter->shape.elements(); ++i) {
        total += sampled[static_cast<size_t>(parameter->offset + i)];
        total_expected += expected[static_cast<size_t>(parameter->offset + i)];
      }
    output.number(fmt::format("{}: total variance of {} gradients", name, batches_), total);
    if (factor) output.number(fmt::format("{}: by the closed form", name), total_expected);
    figure.panels[0].series.push_back(points);
    if (factor) figure.panels[0].series.push_back(formula);
    ++colour;
  }
  constexpr size_t most_names = 8;  // that fit below the axis
  if (layers.size() <= most_names) figure.panels[0].x.names = layers;
  figure.panels[0].x.range = {0.6, static_cast<double>(layers.size()) + 0.4};
  for (size_t l = 0; l < layers.size(); ++l) output.line(fmt::format("layer {}: {}", l + 1, layers[l]));
  output.figure("gradient_variance", figure);
}

}  // namespace noisysgd
