#include "optim/sgd.h"

#include "kernels/reduce.h"
#include "kernels/step_factors.h"

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

std::vector<kernels::SgdSegment> Sgd::segments(const std::vector<Parameter*>& parameters, const SgdStep& step,
                                               std::vector<Tensor>& vectors) const {
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
  if (noise_.averages(fisher_) && fisher_.refreshes(step.step))
    update_fisher_average(context_, fisher_, parameters, step.batch, step.step);
  noise_.prepare({context_, parameters, fisher_, step.batch, step.seed, step.step, vectors, step.noise_in_gradient},
                 segments);
  return segments;
}

kernels::SgdHyperparameters Sgd::hyperparameters(const SgdStep& step) const {
  kernels::SgdHyperparameters h;
  h.learning_rate = step.learning_rate;
  h.momentum = static_cast<float>(options_.momentum);
  h.inverse_batch = static_cast<float>(1.0 / static_cast<double>(step.batch));
  h.nesterov = options_.nesterov;
  h.noise_after_momentum = noise_.options().after_momentum;
  h.seed = step.seed;
  h.step = step.step;
  h.halted = step.halted;
  return h;
}

Tensor Sgd::clip_factor(const std::vector<Parameter*>& parameters, const SgdStep& step) const {
  std::vector<kernels::SummedTensor> gradients;
  for (const Parameter* parameter : parameters)
    gradients.push_back({parameter->gradient_sum.elements(), parameter->gradient_sum.f32()});
  const Tensor sums(context_, {1, 2}, DType::f64);
  kernels::tensor_sums(context_.queue, gradients, 1, sums.data<double>());
  Tensor factor(context_, {1}, DType::f64);
  kernels::clip_factor(context_.queue, static_cast<double>(step.batch), *options_.clip_norm, sums.data<double>() + 1,
                       factor.data<double>());
  return factor;
}

void Sgd::step(const std::vector<Parameter*>& parameters, const SgdStep& step, kernels::SgdNorms* norms) {
  std::vector<Tensor> vectors;
  const std::vector<kernels::SgdSegment> all = segments(parameters, step, vectors);
  kernels::SgdHyperparameters h = hyperparameters(step);
  Tensor factor;  // of the gradient alone: the noise's variance is that of the raw sums
  if (options_.clip_norm) {
    factor = clip_factor(parameters, step);
    h.gradient_factor = Number<double>::at(factor.data<double>());
  }
  kernels::sgd_step(context_.queue, all, h, norms);
}

std::vector<Tensor> Sgd::draw_noise(const std::vector<Parameter*>& parameters, const SgdStep& step) {
  std::vector<Tensor> draws, vectors;
  for (const kernels::SgdSegment& segment : segments(parameters, step, vectors)) {
    draws.emplace_back(context_, parameters[draws.size()]->shape);
    kernels::draw_noise(context_.queue, segment, hyperparameters(step), draws.back().f32());
  }
  return draws;
}

}  // namespace noisysgd
