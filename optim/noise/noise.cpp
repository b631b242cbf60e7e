#include "optim/noise/noise.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/glob.h"
#include "kernels/elementwise.h"
#include "optim/noise/diagonal_fisher.h"
#include "optim/noise/fisher_trace.h"
#include "optim/noise/full_fisher.h"
#include "optim/noise/isotropic.h"
#include "optim/noise/kfac.h"
#include "optim/noise/label.h"
#include "optim/noise/ladder.h"
#include "optim/noise/multiplicative.h"
#include "optim/noise/none.h"

namespace noisysgd {

double noise_kappa(int64_t large_batch, int64_t small_batch) {
  if (large_batch <= small_batch) return 0;
  return 1.0 / static_cast<double>(small_batch) - 1.0 / static_cast<double>(large_batch);
}

int64_t count_elements(const std::vector<Parameter*>& parameters) {
  int64_t count = 0;
  for (const Parameter* parameter : parameters) count += parameter->shape.elements();
  return count;
}

double read_amplitude(const ConfigReader& json, std::string_view key, std::optional<double> default_value) {
  const double value = json.number(key, {.default_value = default_value, .at_least = 0, .at_most = 1e18});
  if (value != 0 && value < 1e-18) json.error(key, fmt::format("must be 0 or at least 1e-18, got {}", value));
  return value;
}

NoiseBatchSizes NoiseBatchSizes::read(const ConfigReader& json) {
  NoiseBatchSizes sizes;
  sizes.small_batch = json.integer("small_batch", {.default_value = sizes.small_batch, .at_least = 1});
  sizes.large_batch = json.optional_integer("large_batch", {.at_least = 1});
  if (sizes.large_batch && *sizes.large_batch <= sizes.small_batch)
    json.error("large_batch",
               fmt::format("must be above small_batch ({}): otherwise there is no noise to add", sizes.small_batch));
  return sizes;
}

Tensor NoiseStructure::trace_of_samples(const NoiseStep& step, double factor, bool centered) {
  const bool one_position =
      std::ranges::all_of(step.parameters, [](const Parameter* parameter) { return parameter->positions == 1; });
  NSGD_CHECK(
      step.fisher.conv == SecondMoment::exact || one_position,
      "noise.match_trace: this noise is made of whole gradients, whose trace needs fisher.conv of \"exact\", not "
      "\"{}\"",
      name_of(step.fisher.conv));
  NSGD_CHECK(step.fisher.batch_norm == GhostFisher::activation,
             "noise.match_trace: this noise is made of single gradients, whose trace needs fisher.batch_norm of "
             "\"activation\", not \"{}\"",
             step.fisher.batch_norm_name());
  NSGD_CHECK(!step.fisher.averaged(),
             "noise.match_trace: this noise is made of the step's own gradients, whose trace needs "
             "fisher.refresh_every of 1 and fisher.ema of 0");
  NSGD_CHECK(!centered || step.fisher.labels == FisherLabels::data,
             "noise.match_trace: this noise is centred, and the mean gradient at sampled labels is not kept; it needs "
             "fisher.kind of \"empirical\"");
  FisherOptions fisher = step.fisher;
  fisher.centered = centered;
  return fisher_trace(step.context, fisher, step.parameters, step.batch, factor);
}

NoiseRegistry NoiseRegistry::builtin() {
  NoiseRegistry registry;
  registry.add("none", [](const ConfigReader&) { return std::make_unique<NoNoise>(); });
  registry.add("isotropic", IsotropicNoise::read);
  registry.add("diagonal_fisher", DiagonalFisherNoise::read);
  registry.add("full_fisher", FullFisherNoise::read);
  registry.add("block_fisher", BlockFisherNoise::read);
  registry.add("unit_fisher", UnitFisherNoise::read);
  registry.add("position_fisher", PositionFisherNoise::read);
  registry.add("kfac", KfacNoise::read);
  registry.add("fisher_trace", FisherTraceNoise::read);
  registry.add("multiplicative", MultiplicativeNoise::read);
  registry.add("label", LabelNoise::read);
  return registry;
}

void NoiseRegistry::add(std::string type, NoiseBuilder builder) {
  const bool is_new = builders_.emplace(type, std::move(builder)).second;
  NSGD_CHECK(is_new, "a noise structure of type '{}' is registered already", type);
}

std::vector<std::string> NoiseRegistry::types() const {
  std::vector<std::string> names;
  for (const auto& [type, builder] : builders_) names.push_back(type);
  return names;
}

std::unique_ptr<NoiseStructure> NoiseRegistry::build(const std::string& type, const ConfigReader& json) const {
  return builders_.at(type)(json);
}

Noise Noise::read(const ConfigReader& json, const NoiseRegistry& registry) {
  Noise noise;
  NoiseOptions& options = noise.options_;
  options.type = json.choice("type", registry.types(), "none");
  if (options.type != "none") {
    options.stop_fraction = json.number("stop_fraction", {.default_value = 0.25, .at_least = 0, .at_most = 1});
    options.after_momentum =
        json.choice<bool>("position", {{"before_momentum", false}, {"after_momentum", true}}, false);
    options.parameters = json.strings("parameters", {.default_value = options.parameters});
    options.scale = read_amplitude(json, "scale", 1);
    options.match_trace = json.optional_integer("match_trace", {.at_least = 1});
  }
  noise.structure_ = registry.build(options.type, json);
  return noise;
}

Noise Noise::none() {
  Noise noise;
  noise.structure_ = std::make_shared<NoNoise>();
  return noise;
}

bool Noise::applies_to(std::string_view parameter) const {
  return std::any_of(options_.parameters.begin(), options_.parameters.end(),
                     [&](const std::string& glob) { return matches_glob(glob, parameter); });
}

void Noise::check_globs(const std::vector<Parameter*>& parameters) const {
  for (const std::string& glob : options_.parameters) check_glob("noise.parameters", glob, parameters);
}

double Noise::epochs_with_noise(int64_t epochs) const {
  return active() ? options_.stop_fraction * static_cast<double>(epochs) : 0;
}

bool Noise::forms_in_backward() const {
  const NoiseNeeds needs = structure_->needs({1, 1, 0, 0});
  return structure_->sample_weights({1, 1, 0, 0}) || needs.signs.grain != kernels::SignGrain::none;
}

void Noise::require_sums(ParameterArena& arena) const {
  const NoiseNeeds needs = structure_->needs({1, 1, 0, 0});
  if (needs_second_moment()) arena.require_second_moment();
  if (forms_in_backward()) arena.require_noise_sum();
  if (needs.kronecker_input || needs.kronecker_output) arena.require_kronecker_factors(needs.kronecker_input);
  const bool squares = needs.trace_of_signs && options_.match_trace;
  if (squares) arena.require_noise_variance();
  const bool signs = needs.signs.grain != kernels::SignGrain::none && needs.signs.grain != kernels::SignGrain::element;
  for (const Parameter* parameter : arena.parameters())
    NSGD_CHECK(!signs || parameter->gives_signed_sums || !applies_to(parameter->name),
               "noise '{}': the layer of parameter '{}' gives no sums with signs; leave it out by noise.parameters",
               options_.type, parameter->name);
  for (const Parameter* parameter : arena.parameters())
    NSGD_CHECK(!squares || parameter->gives_signed_squares || !applies_to(parameter->name),
               "noise.match_trace: the layer of parameter '{}' gives no squares of terms with signs; leave it out by "
               "noise.parameters",
               parameter->name);
}

bool Noise::weighs_losses(const FisherOptions& fisher, const NoiseBatch& batch, bool keep_gradient) const {
  return structure_->sample_weights(batch) && !keep_gradient && !needs_second_moment() && !options_.after_momentum &&
         options_.parameters == std::vector<std::string>{"*"} && fisher.labels == FisherLabels::data &&
         structure_->needs(batch).labels == NoiseLabels::fisher;
}

Statistics Noise::statistics(const FisherOptions& fisher, const NoiseBatch& batch, bool keep_gradient) const {
  const NoiseNeeds needs = structure_->needs(batch);
  Statistics statistics;
  if (needs_second_moment() && fisher.refreshes(batch.step)) fisher.collect(statistics);
  statistics.signs = needs.signs;
  statistics.signs.squares = needs.trace_of_signs && options_.match_trace;
  statistics.kronecker_input = needs.kronecker_input;
  statistics.kronecker_output = needs.kronecker_output;
  statistics.factors_replace_second_moment =
      needs.factors_replace_second_moment && !keep_gradient && !options_.match_trace;
  return statistics;
}

NoisePasses Noise::passes(Context& context, const FisherOptions& fisher, const NoiseBatch& batch,
                          bool keep_gradient) const {
  NoisePasses passes;
  passes.step = batch.step;
  passes.statistics = statistics(fisher, batch, keep_gradient);
  const std::optional<kernels::SampleWeights> weights = structure_->sample_weights(batch);
  if (!weights) return passes;

  passes.noise_labels = structure_->needs(batch).labels;
  const bool in_gradient = weighs_losses(fisher, batch, keep_gradient);
  const auto inverse_batch = static_cast<float>(1.0 / static_cast<double>(batch.samples));
  const RandomStream stream{batch.seed, batch.step, 0, RandomPurpose::sample_weights};
  Tensor& target = in_gradient ? passes.loss_weights : passes.noise_weights;
  target = Tensor(context, {batch.samples});
  kernels::sample_weights(context.queue, *weights, stream, batch.samples, in_gradient ? 1.0f : 0.0f,
                          in_gradient ? static_cast<float>(options_.scale) : inverse_batch, target.f32());
  return passes;
}

void NoisePasses::apply(int64_t begin, Batch& batch, AccumulateOptions& options) const {
  const int64_t end = begin + batch.size();
  options.statistics = statistics;
  options.sample_offset = begin;
  if (loss_weights.defined()) batch.sample_weights = loss_weights.rows(begin, end);
  options.noise_weights = noise_weights.defined() ? noise_weights.rows(begin, end) : Tensor();
  options.noise_labels = noise_labels;
  options.noise_step = step;
}

Tensor Noise::known_trace(const NoiseStep& step) const {
  Tensor trace = structure_->trace(step);
  NSGD_CHECK(trace.defined(), "noise.match_trace: the trace of '{}' is not known before it is drawn", options_.type);
  return trace;
}

void Noise::check(Context& context, const FisherOptions& fisher, const NoiseBatch& batch,
                  const std::vector<Parameter*>& parameters) const {
  if (const auto weights = structure_->sample_weights(batch); weights && weights->centered)
    NSGD_CHECK(batch.samples > weights->group,
               "noise.centered: a batch of {} is one {} alone, whose sign has no deviation from the mean; another "
               "batch.size or batch.drop_last avoids it",
               batch.samples, weights->group > 1 ? "ghost batch" : "sample");
  if (!options_.match_trace) return;
  std::vector<Parameter*> noisy;
  std::copy_if(parameters.begin(), parameters.end(), std::back_inserter(noisy),
               [&](const Parameter* parameter) { return applies_to(parameter->name); });
  std::vector<Tensor> vectors;
  known_trace({context, noisy, fisher, batch.samples, batch.seed, batch.step, vectors});
}

void Noise::prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) const {
  if (step.in_gradient) return;
  std::vector<Parameter*> parameters;
  std::vector<kernels::SgdSegment> noisy;
  for (size_t i = 0; i < segments.size(); ++i) {
    if (!applies_to(step.parameters[i]->name)) continue;
    parameters.push_back(step.parameters[i]);
    noisy.push_back(segments[i]);
  }
  const NoiseStep own{step.context, parameters, step.fisher, step.batch, step.seed, step.step, step.vectors, false};
  structure_->prepare(own, noisy);

  const float* match = nullptr;  // of match_trace, for variances
  Number<float> vector = static_cast<float>(options_.scale);
  if (options_.match_trace) {
    const Tensor trace = known_trace(own);
    const Tensor wanted =
        fisher_trace(step.context, step.fisher, parameters, step.batch, noise_kappa(step.batch, *options_.match_trace));
    const Tensor& factors = step.vectors.emplace_back(step.context, Shape{2});
    kernels::match_factors(step.context.queue, options_.scale, wanted.data<double>(), trace.data<double>(),
                           factors.f32(), factors.f32() + 1);
    match = factors.f32();
    vector = Number<float>::at(factors.f32() + 1);
  }
  size_t next = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    if (!applies_to(step.parameters[i]->name)) continue;
    kernels::SgdSegment& segment = segments[i];
    segment = noisy[next++];
    segment.match_factor = match;
    if (!match) segment.noise = segment.noise.scaled(options_.scale * options_.scale);
    if (!segment.explicit_noise || (!match && options_.scale == 1.0)) continue;
    const Tensor& scaled = step.vectors.emplace_back(step.context, step.parameters[i]->shape);
    kernels::scale(step.context.queue, segment.n, vector, segment.explicit_noise, scaled.f32());
    segment.explicit_noise = scaled.f32();
  }
}

}  // namespace noisysgd
