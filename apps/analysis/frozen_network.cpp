#include <noisysgd/apps/analysis/frozen_network.h>

#include <algorithm>

namespace noisysgd {

namespace {

Noise noise_of(const FrozenNetwork& network, const Json& noise) {
  if (noise.is_null()) return network.regime().build_noise(network.extensions());
  return Noise::read(Config(noise, "noise").root(), network.extensions().noises);
}

StepOptions options_of(const FrozenNetwork& network, uint64_t seed) {
  StepOptions options = step_options(network.regime(), seed);
  options.fisher = options.fisher.of_one_batch();
  options.measurements = {};
  options.clip_norm = {};
  options.keep_gradient = true;
  options.graphs = false;
  return options;
}

}  // namespace

FrozenNetwork::FrozenNetwork(AnalysedRuns& runs, const Regime& regime)
    : context_(runs.context()),
      regime_(regime),
      extensions_(runs.extensions()),
      data_(runs.data(regime)),
      train_(context_, data_->sets.train, data_->normalisation, regime.data.augment),
      model_(make_model(context_, regime, *data_, extensions_)) {
  context_.queue.set_precision(kernels::Precision::fp32);
}

void FrozenNetwork::set(uint64_t seed, const RunState& state) { set_state(model_, regime_, seed, state); }

Batch FrozenNetwork::batch(int64_t wanted, uint64_t seed, uint32_t draw) const {
  NSGD_CHECK(wanted <= train_.count(), "a batch of {} cannot be taken from {} training images", wanted,
             train_.count());
  const int64_t samples = model_.coupling().usable(wanted);
  NSGD_CHECK(samples > 0, "a batch of {} is too small for the ghost batches of the network", wanted);
  return train_.shuffled({draw, 0, 0}, samples, seed);
}

StepGradients::StepGradients(FrozenNetwork& network, uint64_t seed, const Json& noise)
    : context_(network.context()),
      model_(network.model()),
      noise_(noise_of(network, noise)),
      optimizer_(network.regime().build_optimizer(network.extensions())),
      step_(context_, model_, noise_, *optimizer_, nullptr, options_of(network, seed)) {
  step_.begin_noise();
}

void StepGradients::take(const Batch& batch, uint32_t number) {
  const int64_t samples = batch.size();
  number_ = number;
  recipe_ = step_.recipe({.values = {.step = number}, .samples = samples, .noise = noise_.acts_on(samples)});
  const BatchSource source = [&](const StepNumbers&, int64_t begin, int64_t count) {
    return batch.rows(begin, begin + count);
  };
  step_.accumulate(recipe_, source, {.step = number});
}

std::vector<float> StepGradients::mean_gradient() const {
  std::vector<float> gradient = to_host<float>(context_, step_.sums().gradient.all());
  for (float& value : gradient) value /= static_cast<float>(recipe_.samples);
  return gradient;
}

std::vector<float> StepGradients::noise() {
  std::vector<float> noise(static_cast<size_t>(model_.parameter_set().padded()));
  if (!recipe_.noise.active) return noise;
  const std::vector<Tensor> drawn = step_.draw_noise(recipe_, number_);
  for (size_t i = 0; i < drawn.size(); ++i) {
    const std::vector<float> values = to_host<float>(context_, drawn[i]);
    std::ranges::copy(values, noise.begin() + model_.parameters()[i]->offset);
  }
  return noise;
}

}  // namespace noisysgd
