#include <noisysgd/optim/noise/noise.h>

#include <algorithm>
#include <utility>

#include <noisysgd/core/glob.h>
#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/optim/noise/diagonal_fisher.h>
#include <noisysgd/optim/noise/fisher_trace.h>
#include <noisysgd/optim/noise/full_fisher.h>
#include <noisysgd/optim/noise/isotropic.h>
#include <noisysgd/optim/noise/kfac.h>
#include <noisysgd/optim/noise/label.h>
#include <noisysgd/optim/noise/ladder.h>
#include <noisysgd/optim/noise/multiplicative.h>
#include <noisysgd/optim/noise/none.h>

namespace noisysgd {

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

Noise Noise::read(const ConfigReader& json, const NoiseRegistry& registry) {
  Noise noise;
  NoiseOptions& options = noise.options_;
  options.type = registry.read_type(json, "none");
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
  NSGD_CHECK(options_.parameters.empty() ||
                 std::ranges::any_of(
                     parameters,
                     [&](const Parameter* parameter) { return !parameter->frozen && applies_to(parameter->name); }),
             "noise.parameters: model.freeze freezes every parameter that they name, so no noise would be drawn");
}

double Noise::epochs_with_noise(int64_t epochs) const {
  return active() ? options_.stop_fraction * static_cast<double>(epochs) : 0;
}

void Noise::begin(Context& context, const ParameterSet& parameters, const FisherOptions& fisher) {
  NSGD_CHECK(!std::exchange(structure_->begun_, true),
             "noise '{}': begin was called twice; each run needs a Noise of its own", options_.type);
  const NoiseCapabilities needs = capabilities();
  const bool signs = needs.signs != kernels::SignGrain::none && needs.signs != kernels::SignGrain::element;
  const bool variance = needs.signed_variance && options_.match_trace;
  for (const Parameter* parameter : parameters.trained()) {
    if (!applies_to(parameter->name)) continue;
    NSGD_CHECK(!signs || parameter->gives_sample_statistics,
               "noise '{}': the layer of parameter '{}' does not support signed sums; leave it out by noise.parameters",
               options_.type, parameter->name);
    NSGD_CHECK(!variance || parameter->gives_signed_squares,
               "noise.match_trace: the layer of parameter '{}' does not support squares of signed terms; leave it out "
               "by noise.parameters",
               parameter->name);
  }
  parameters_ = &parameters;
  if (averages(fisher)) fisher_average_ = Block(context, parameters);
  structure_->begin(context, parameters);
}

void Noise::require_sums(Context& context, const ParameterSet& parameters, Sums& sums) const {
  const NoiseCapabilities needs = capabilities();
  const auto require = [&](bool wanted, Block& block) {
    if (wanted && !block.defined()) block = Block(context, parameters);
  };
  require(needs_second_moment(), sums.second_moment);
  require(forms_in_backward(), sums.signed_sum);
  require(needs.signed_variance && options_.match_trace, sums.signed_variance);
  if ((needs.kronecker_input || needs.kronecker_output) && !sums.kronecker)
    sums.kronecker = kronecker_sums(context, parameters, needs.kronecker_input);
}

void Noise::visit_state(StateVisitor& visitor) const {
  if (!parameters_) return;
  if (fisher_average_.defined())  // in memory order, since no other program reads it
    for (const Parameter* parameter : parameters_->list())
      visitor.visit("fisher." + parameter->name, fisher_average_.of(*parameter));
  structure_->visit_state(visitor);
}

NoisePlan Noise::plan(const FisherOptions& fisher, const NoiseBatch& batch, int64_t step, bool keep_gradient) const {
  NoisePlan plan;
  plan.active = true;
  plan.needs_host = capabilities().needs_host;
  plan.collects = structure_->collects(batch, step);
  const bool collects_fisher = needs_second_moment() && fisher.refreshes(step);
  if (collects_fisher) fisher.collect(plan.statistics);
  plan.updates_average = collects_fisher && fisher.kept();
  plan.first_average = plan.updates_average && step == 0;
  plan.statistics.signs = plan.collects.signs;
  plan.statistics.signs.squares = capabilities().signed_variance && options_.match_trace;
  plan.statistics.kronecker_input = plan.collects.kronecker_input;
  plan.statistics.kronecker_output = plan.collects.kronecker_output;
  plan.statistics.factors_replace_second_moment =
      plan.collects.factors_replace_second_moment && !keep_gradient && !options_.match_trace;
  plan.weights = structure_->sample_weights(batch);
  if (!plan.weights) return plan;
  if (plan.weights->centered)
    NSGD_CHECK(batch.samples > plan.weights->group,
               "noise.centered: a batch of {} is a single {}, and one sign minus its mean is 0; change batch.size or "
               "set batch.drop_last",
               batch.samples, plan.weights->group > 1 ? "ghost batch" : "sample");
  plan.labels = plan.collects.labels.value_or(fisher.labels);
  plan.weighs_losses = !keep_gradient && !needs_second_moment() && !options_.after_momentum &&
                       options_.parameters == std::vector<std::string>{"*"} && plan.labels == Labels::data;
  return plan;
}

Tensor Noise::sample_weights(Context& context, const NoisePlan& plan, int64_t samples, uint64_t seed,
                             StepNumber step) const {
  if (!plan.weights) return {};
  const auto inverse_batch = static_cast<float>(1.0 / static_cast<double>(samples));
  const RandomStream stream{seed, step, 0, RandomPurpose::sample_weights};
  Tensor weights(context, {samples});
  kernels::sample_weights(context.queue, *plan.weights, stream, samples, plan.weighs_losses ? 1.0f : 0.0f,
                          plan.weighs_losses ? static_cast<float>(options_.scale) : inverse_batch, weights.f32());
  return weights;
}

Tensor Noise::known_trace(const NoiseStep& step) const {
  Tensor trace = structure_->trace(step);
  NSGD_CHECK(trace.defined(), "noise.match_trace: the trace of '{}' is not known before it is drawn", options_.type);
  return trace;
}

std::vector<Parameter*> Noise::noisy_parameters() const {
  std::vector<Parameter*> noisy = parameters_->trained();
  std::erase_if(noisy, [&](const Parameter* parameter) { return !applies_to(parameter->name); });
  return noisy;
}

void Noise::check_trace(Context& context, const FisherOptions& fisher, const NoiseBatch& batch,
                        const Sums& sums) const {
  if (!options_.match_trace) return;
  const std::vector<Parameter*> noisy = noisy_parameters();
  const FisherStep diagonal{fisher, sums, batch.samples, fisher_average_};
  const NoiseCollects collected = structure_->collects(batch, 0);
  std::vector<Tensor> kept;
  known_trace({context, noisy, sums, diagonal, batch.samples, 0, 0, collected, kept});
}

std::vector<kernels::NoiseField> Noise::prepare(Context& context, const NoisePlan& plan, const FisherOptions& fisher,
                                                const Sums& sums, int64_t samples, uint64_t seed, StepNumber step,
                                                std::vector<Tensor>& kept) {
  std::vector<kernels::NoiseField> fields(parameters_->list().size());
  const FisherStep diagonal{fisher, sums, samples, fisher_average_};
  if (plan.updates_average) update_fisher_average(context, diagonal, parameters_->trained(), plan.first_average);
  if (plan.weighs_losses) return fields;  // the gradient sums already contain the noise
  const std::vector<Parameter*> noisy = noisy_parameters();
  std::vector<kernels::NoiseField> own(noisy.size());
  const NoiseStep of_structure{context, noisy, sums, diagonal, samples, seed, step, plan.collects, kept};
  structure_->prepare(of_structure, own);

  const float* match = nullptr;  // device pointer to the match_trace factor of variances
  Number<float> vector = static_cast<float>(options_.scale);
  if (options_.match_trace) {
    const Tensor trace = known_trace(of_structure);
    const Tensor wanted = fisher_trace(context, diagonal, noisy, noise_kappa(samples, *options_.match_trace));
    const Tensor& factors = kept.emplace_back(context, Shape{2});
    kernels::match_factors(context.queue, options_.scale, wanted.data<double>(), trace.data<double>(), factors.f32(),
                           factors.f32() + 1);
    match = factors.f32();
    vector = Number<float>::at(factors.f32() + 1);
  }
  for (size_t i = 0; i < noisy.size(); ++i) {
    kernels::NoiseField& field = fields[noisy[i]->index];
    field = own[i];
    field.match_factor = match;
    if (!match) field.variance = field.variance.scaled(options_.scale * options_.scale);
    if (!field.vector || (!match && options_.scale == 1.0)) continue;
    const Tensor& scaled = kept.emplace_back(context, noisy[i]->shape);
    kernels::scale(context.queue, scaled.elements(), vector, field.vector, scaled.f32());
    field.vector = scaled.f32();
  }
  return fields;
}

}  // namespace noisysgd
