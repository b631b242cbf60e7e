// AdamW: kernels/adamw_step.h.
#pragma once

#include <noisysgd/kernels/adamw_step.h>
#include <noisysgd/optim/optimizer.h>

namespace noisysgd {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
};

class AdamW : public Optimizer {
 public:
  explicit AdamW(const AdamWOptions& options = {}) : options_(options) {}

  static std::unique_ptr<Optimizer> read(const ConfigReader& json) {
    AdamWOptions options;
    const std::vector<double> betas = json.numbers("betas", {.default_value = std::vector<double>{0.9, 0.999},
                                                             .length = {.at_least = 2, .at_most = 2},
                                                             .each = {.at_least = 0, .below = 1}});
    options.beta1 = betas[0], options.beta2 = betas[1];
    options.epsilon = json.number("epsilon", {.default_value = options.epsilon, .at_least = 1e-30, .at_most = 1e30});
    options.weight_decay = json.number("weight_decay", {.default_value = options.weight_decay, .at_least = 0});
    return std::make_unique<AdamW>(options);
  }

  void begin(Context& context, const ParameterSet& parameters) override {
    context_ = &context;
    parameters_ = &parameters;
    first_ = Block(context, parameters);
    second_ = Block(context, parameters);
  }

  void step(const OptimizerStep& step) override {
    std::vector<kernels::AdamWSegment> segments;
    for (const Parameter* parameter : parameters_->trained())
      segments.push_back({.n = parameter->value.elements(),
                          .value = parameter->value.f32(),
                          .first = first_.at(*parameter),
                          .second = second_.at(*parameter),
                          .gradient_sum = step.gradient.at(*parameter),
                          .noise = step.noise.empty() ? kernels::NoiseField{} : step.noise[parameter->index],
                          .tensor = parameter->index});
    const kernels::AdamWHyperparameters hyperparameters{
        .learning_rate = step.learning_rate,
        .beta1 = static_cast<float>(options_.beta1),
        .beta2 = static_cast<float>(options_.beta2),
        .epsilon = static_cast<float>(options_.epsilon),
        .weight_decay = static_cast<float>(options_.weight_decay),
        .inverse_batch = static_cast<float>(1.0 / static_cast<double>(step.batch)),
        .gradient_factor = step.gradient_factor,
        .halted = step.halted,
        .noise_after_momentum = step.noise_after_momentum,
        .seed = step.seed,
        .step = step.step};
    kernels::adamw_step(context_->queue, segments, hyperparameters, step.norms);
  }

  // Names: "adamw.first." and "adamw.second." + parameter name.
  void visit_state(StateVisitor& visitor) const override {
    visit_block(visitor, "adamw.first.", *parameters_, first_);
    visit_block(visitor, "adamw.second.", *parameters_, second_);
  }

 private:
  AdamWOptions options_;
  Context* context_ = nullptr;
  const ParameterSet* parameters_ = nullptr;
  Block first_, second_;
};

}  // namespace noisysgd
