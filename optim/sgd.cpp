#include <noisysgd/optim/sgd.h>

namespace noisysgd {

std::unique_ptr<Optimizer> Sgd::read(const ConfigReader& json) {
  SgdOptions options;
  options.momentum = json.number("momentum", {.default_value = 0.9, .at_least = 0, .below = 1});
  options.weight_decay = json.number("weight_decay", {.default_value = 0, .at_least = 0});
  options.nesterov = json.boolean("nesterov", false);
  if (options.nesterov && options.momentum == 0) json.error("nesterov", "needs a momentum above 0");
  return std::make_unique<Sgd>(options);
}

void Sgd::begin(Context& context, const ParameterSet& parameters) {
  context_ = &context;
  parameters_ = &parameters;
  velocity_ = Block(context, parameters);
}

void Sgd::step(const OptimizerStep& step) {
  std::vector<kernels::SgdSegment> segments;
  for (const Parameter* parameter : parameters_->trained())
    segments.push_back({.n = parameter->value.elements(),
                        .value = parameter->value.f32(),
                        .velocity = velocity_.at(*parameter),
                        .gradient_sum = step.gradient.at(*parameter),
                        .noise = step.noise.empty() ? kernels::NoiseField{} : step.noise[parameter->index],
                        .weight_decay = static_cast<float>(options_.weight_decay),
                        .tensor = parameter->index});
  const kernels::SgdHyperparameters hyperparameters{
      .learning_rate = step.learning_rate,
      .momentum = static_cast<float>(options_.momentum),
      .inverse_batch = static_cast<float>(1.0 / static_cast<double>(step.batch)),
      .gradient_factor = step.gradient_factor,
      .halted = step.halted,
      .nesterov = options_.nesterov,
      .noise_after_momentum = step.noise_after_momentum,
      .seed = step.seed,
      .step = step.step};
  kernels::sgd_step(context_->queue, segments, hyperparameters, step.norms);
}

void Sgd::visit_state(StateVisitor& visitor) const {
  visit_block(visitor, "momentum.", *parameters_, velocity_);
}

}  // namespace noisysgd
