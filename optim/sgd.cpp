#include "optim/sgd.h"

#include <cmath>

#include "kernels/reduce.h"

namespace noisysgd {

SgdOptions read_sgd(const ConfigReader& json) {
  SgdOptions options;
  json.choice("type", {"sgd"}, "sgd");
  options.learning_rate = json.number("learning_rate", {.default_value = 0.1, .above = 0});
  options.momentum = json.number("momentum", {.default_value = 0.9, .at_least = 0, .below = 1});
  options.weight_decay = json.number("weight_decay", {.default_value = 0, .at_least = 0});
  options.nesterov = json.boolean("nesterov", false);
  options.clip_norm = json.optional_number("clip_norm", {.above = 0});
  if (options.nesterov && options.momentum == 0) json.error("nesterov", "needs a momentum above 0");
  return options;
}

std::vector<kernels::SgdSegment> Sgd::segments(const std::vector<Parameter*>& parameters, const SgdStep& step) const {
  std::vector<kernels::SgdSegment> segments;
  segments.reserve(parameters.size());
  for (const Parameter* parameter : parameters) {
    kernels::SgdSegment segment;
    segment.n = parameter->value.elements();
    segment.value = parameter->value.f32();
    segment.velocity = parameter->velocity.f32();
    segment.gradient_sum = parameter->gradient_sum.f32();
    segment.second_moment = parameter->second_moment.defined() ? parameter->second_moment.f32() : nullptr;
    segment.weight_decay = static_cast<float>(options_.weight_decay);
    segment.tensor = parameter->index;
    segments.push_back(segment);
  }
  if (!step.noise) return segments;
  if (averages_fisher() && fisher_.refreshes(step.step))
    update_fisher_average(context_, fisher_, parameters, step.batch, step.step);
  noise_.prepare({context_, parameters, fisher_, step.batch, step.seed, step.step, step.noise_in_gradient}, segments);
  return segments;
}

kernels::SgdHyperparameters Sgd::hyperparameters(const SgdStep& step) const {
  kernels::SgdHyperparameters h;
  h.learning_rate = static_cast<float>(step.learning_rate);
  h.momentum = static_cast<float>(options_.momentum);
  h.inverse_batch = static_cast<float>(1.0 / static_cast<double>(step.batch));
  h.nesterov = options_.nesterov;
  h.noise_after_momentum = noise_.options().after_momentum;
  h.seed = step.seed;
  h.step = step.step;
  return h;
}

double Sgd::clip_factor(const std::vector<Parameter*>& parameters, const SgdStep& step) const {
  if (!options_.clip_norm) return 1;
  kernels::TensorSums sums;
  for (const Parameter* parameter : parameters)
    kernels::tensor_sums(context_.queue, parameter->gradient_sum.elements(), parameter->gradient_sum.f32(), &sums);
  const double norm = std::sqrt(sums.sum_of_squares) / static_cast<double>(step.batch);
  return norm > *options_.clip_norm ? *options_.clip_norm / norm : 1;
}

void Sgd::step(const std::vector<Parameter*>& parameters, const SgdStep& step, kernels::SgdNorms* norms) {
  const std::vector<kernels::SgdSegment> all = segments(parameters, step);
  kernels::SgdHyperparameters h = hyperparameters(step);
  const double factor = clip_factor(parameters, step);
  h.inverse_batch *= static_cast<float>(factor);  // scales the gradient alone: the noise's variance is of the raw sums
  kernels::SgdNorms clipped;
  kernels::sgd_step(context_.queue, all, h, norms ? &clipped : nullptr);
  if (!norms) return;
  norms->gradient_squared += clipped.gradient_squared / (factor * factor);
  norms->noise_squared += clipped.noise_squared;
}

std::vector<Tensor> Sgd::draw_noise(const std::vector<Parameter*>& parameters, const SgdStep& step) {
  std::vector<Tensor> draws;
  for (const kernels::SgdSegment& segment : segments(parameters, step)) {
    draws.emplace_back(context_, parameters[draws.size()]->shape);
    kernels::draw_noise(context_.queue, segment, hyperparameters(step), draws.back().f32());
  }
  return draws;
}

}  // namespace noisysgd
