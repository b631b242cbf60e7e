// An example noise structure with state. It estimates the noise of a small batch from the changes of the large batch's
// mean gradient g between steps, without gradients of single samples:
//   m <- b m + (1-b) g,  v <- b v + (1-b) (g - m)^2,  eps ~ N(0, kappa M diag(v))
// because Var(g) = S^2/M over batches, and a small batch has the additional variance kappa S^2.
#pragma once

#include <memory>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/kernels/moving_average.h>
#include <noisysgd/optim/noise/structure.h>

class TemporalNoise : public noisysgd::NoiseStructure {
 public:
  TemporalNoise(const noisysgd::NoiseBatchSizes& sizes, float decay) : sizes_(sizes), decay_(decay) {}

  static std::unique_ptr<NoiseStructure> read(const noisysgd::ConfigReader& json) {
    const auto decay = static_cast<float>(json.number("decay", {.default_value = 0.9, .at_least = 0, .below = 1}));
    return std::make_unique<TemporalNoise>(noisysgd::NoiseBatchSizes::read(json), decay);
  }

  // Steps whose batch is too small for noise update the averages too.
  noisysgd::NoiseCapabilities capabilities() const override { return {.remembers = true}; }
  bool acts_on(int64_t samples) const override { return sizes_.act_on(samples); }
  // The first step has no earlier mean.
  noisysgd::NoiseCollects collects(const noisysgd::NoiseBatch&, int64_t step) const override {
    return {.variant = step == 0};
  }

  // Its state: two numbers per parameter element. Every run has its own structure;
  // checkpoints save and restore the tensors that visit_state names.
  void begin(noisysgd::Context& context, const noisysgd::ParameterSet& parameters) override {
    parameters_ = &parameters;
    mean_ = noisysgd::Block(context, parameters);
    variance_ = noisysgd::Block(context, parameters);
  }
  void visit_state(noisysgd::StateVisitor& visitor) const override {
    visit_block(visitor, "temporal.mean.", *parameters_, mean_);
    visit_block(visitor, "temporal.variance.", *parameters_, variance_);
  }

  void prepare(const noisysgd::NoiseStep& step, std::span<noisysgd::kernels::NoiseField> fields) override {
    namespace kernels = noisysgd::kernels;
    auto& queue = step.context.queue;
    const int64_t n = parameters_->padded();
    const auto batch = static_cast<float>(step.batch);
    float *const mean = mean_.all().f32(), *const variance = variance_.all().f32();
    const noisysgd::Tensor gradient(step.context, {n}), deviation(step.context, {n});
    kernels::scale(queue, n, 1 / batch, step.sums.gradient.all().f32(), gradient.f32());
    if (step.collected.variant) copy(step.context, gradient, mean_.all());
    kernels::scale(queue, n, -1.0f, mean, deviation.f32());
    kernels::add(queue, n, gradient.f32(), deviation.f32());
    kernels::scale(queue, n, std::sqrt(1 - decay_), deviation.f32(), deviation.f32());
    kernels::scale(queue, n, decay_, variance, variance);
    kernels::add_square(queue, n, deviation.f32(), variance);
    kernels::moving_average(queue, n, decay_, gradient.f32(), mean);
    for (size_t i = 0; i < fields.size(); ++i) {
      fields[i].variance.second_moment = static_cast<float>(sizes_.kappa(step.batch) * static_cast<double>(batch));
      fields[i].second_moment = variance_.at(*step.parameters[i]);
    }
  }

 private:
  noisysgd::NoiseBatchSizes sizes_;
  float decay_;
  const noisysgd::ParameterSet* parameters_ = nullptr;
  noisysgd::Block mean_, variance_;
};
