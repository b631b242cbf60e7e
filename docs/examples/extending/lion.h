// An example optimizer: Lion (Chen et al. 2023), which moves every element by the same distance:
//   theta -= alpha (sign(b1 m + (1-b1) g) + lambda theta),  m <- b2 m + (1-b2) g
// g is the mean gradient plus the noise. With noise after momentum, the noise is added to the sign instead of g.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include <noisysgd/optim/optimizer.h>

class Lion : public noisysgd::Optimizer {
 public:
  Lion(double beta1, double beta2, double weight_decay) : beta1_(beta1), beta2_(beta2), weight_decay_(weight_decay) {}

  // Its own keys; every optimizer also has learning_rate, clip_norm, scaling, weight_average.
  static std::unique_ptr<Optimizer> read(const noisysgd::ConfigReader& json) {
    const auto betas = json.numbers("betas", {.default_value = {{0.9, 0.99}},
                                              .length = {.at_least = 2, .at_most = 2},
                                              .each = {.at_least = 0, .below = 1}});
    return std::make_unique<Lion>(betas[0], betas[1],
                                  json.number("weight_decay", {.default_value = 0, .at_least = 0}));
  }

  // Its state, and the prefix of its tensors in checkpoints.
  void begin(noisysgd::Context& context, const noisysgd::ParameterSet& parameters) override {
    context_ = &context;
    parameters_ = &parameters;
    average_ = noisysgd::Block(context, parameters);
  }
  void visit_state(noisysgd::StateVisitor& visitor) const override {
    visit_block(visitor, "lion.", *parameters_, average_);
  }

  void step(const noisysgd::OptimizerStep& step) override {
    if (step.halted.read() != 0) return;
    for (const noisysgd::Parameter* parameter : parameters_->trained()) update(step, *parameter);
  }

 private:
  void update(const noisysgd::OptimizerStep& step, const noisysgd::Parameter& parameter) {
    const int64_t n = parameter.shape.elements();
    const float* const sums = step.gradient.at(parameter);
    float *const theta = parameter.value.f32(), *const average = average_.at(parameter);
    std::vector<float> noise(static_cast<size_t>(n));
    if (!step.noise.empty()) {
      const noisysgd::kernels::NoiseDraw draw{
          n, sums, step.noise[parameter.index], step.seed, step.step, parameter.index};
      noisysgd::kernels::draw_noise(context_->queue, draw, noise.data());
    }
    for (int64_t i = 0; i < n; ++i) {
      const double mean = sums[i] / static_cast<double>(step.batch), eps = noise[static_cast<size_t>(i)];
      const double gradient = mean * step.gradient_factor.read() + (step.noise_after_momentum ? 0 : eps);
      const double mixed = beta1_ * average[i] + (1 - beta1_) * gradient;
      const double move = (mixed > 0) - (mixed < 0) + (step.noise_after_momentum ? eps : 0);
      theta[i] -= static_cast<float>(step.learning_rate.read() * (move + weight_decay_ * theta[i]));
      average[i] = static_cast<float>(beta2_ * average[i] + (1 - beta2_) * gradient);
      if (!step.norms) continue;  // only some steps log the norms
      step.norms->gradient_squared += mean * mean;
      step.norms->noise_squared += eps * eps;
    }
  }

  double beta1_, beta2_, weight_decay_;
  noisysgd::Context* context_ = nullptr;
  const noisysgd::ParameterSet* parameters_ = nullptr;
  noisysgd::Block average_;
};
