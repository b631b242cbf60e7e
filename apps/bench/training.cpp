#include "apps/bench/training.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/bench/networks.h"
#include "apps/training_step.h"
#include "kernels/random.h"
#include "optim/sgd.h"

namespace noisysgd::bench {

namespace {

constexpr float learning_rate = 0.01f;

Regime regime_of(const Variant& variant, int64_t micro) {
  Regime regime;
  regime.sgd = {.learning_rate = learning_rate, .momentum = 0.9, .weight_decay = 5e-4};
  regime.fisher.conv = variant.conv;
  regime.noise = Noise::read(Config(variant.noise).root(), NoiseRegistry::builtin());
  if (micro > 0) regime.batch.micro = micro;
  return regime;
}

class HostTraining : public Training {
 public:
  HostTraining(Context& context, const std::string& network, const Variant& variant, const Batch& batch, int64_t micro)
      : regime_(regime_of(variant, micro)),
        model_(context, make_network(network), classes),
        sgd_(context, regime_.sgd, regime_.fisher, regime_.noise),
        batch_(batch) {
    sgd_.require_sums(model_.arena());
    model_.arena().initialise(1);
  }

  void step(int64_t samples) override {
    model_.arena().zero_sums();
    const NoisePasses passes = sgd_.passes({samples, model_.network().ghost_size(), 1, step_});
    const int64_t micro = regime_.batch.micro.value_or(samples);
    for (int64_t begin = 0; begin < samples; begin += micro) {
      AccumulateOptions options;
      options.seed = 1;
      options.step = step_;
      Batch rows = batch_.rows(begin, std::min(begin + micro, samples));
      passes.apply(begin, rows, options);
      loss_ += model_.accumulate(rows, options).loss;
    }
    sgd_.step(model_.parameters(), {.learning_rate = learning_rate,
                                    .batch = samples,
                                    .seed = 1,
                                    .step = step_,
                                    .noise_in_gradient = passes.in_gradient()});
    ++step_;
  }

  void check() override {
    NSGD_CHECK(std::isfinite(loss_), "benchmark: a loss of the first {} steps is not finite", step_);
  }

 private:
  Regime regime_;
  Model model_;
  Sgd sgd_;
  const Batch& batch_;
  uint32_t step_ = 0;
  double loss_ = 0;  // of all steps
};

class DeviceTraining : public Training {
 public:
  DeviceTraining(Context& context, const std::string& network, const Variant& variant, const Loader& loader,
                 int64_t micro)
      : regime_(regime_of(variant, micro)),
        model_(context, make_network(network), classes),
        step_(context, regime_, 1, model_, loader, nullptr, graphs_wanted()) {
    step_.require_noise();
    model_.arena().initialise(1);
  }

  void step(int64_t samples) override {
    step_.run({.values = {number_, number_, 0, learning_rate}, .samples = samples, .noise = regime_.noise.active()});
    ++number_;
  }

  void check() override {
    const kernels::TrainingSums sums = step_.sums().read();
    NSGD_CHECK(sums.halted == 0, "benchmark: the loss of step {} is not finite", sums.halted_step);
  }

  StepGraphs::Counts counts() const override { return step_.counts(); }
  std::optional<int64_t> chosen_micro_batch() const override { return step_.chosen_micro_batch(); }

 private:
  Regime regime_;
  Model model_;
  TrainingStep step_;
  uint32_t number_ = 0;  // of the next step, which is an epoch of its own
};

std::vector<int32_t> labels_in_turn(int64_t samples) {
  std::vector<int32_t> labels(static_cast<size_t>(samples));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i % classes);
  return labels;
}

Batch random_batch(Context& context, const Shape& image, int64_t samples) {
  Batch batch{.images = Tensor(context, image.batched(samples)),
              .labels = from_host(context, {samples}, labels_in_turn(samples)),
              .sample_weights = {}};
  kernels::random_normal(context.queue, batch.images.elements(), 0, 1, RandomStream{}, batch.images.f32());
  return batch;
}

}  // namespace

const std::vector<Variant>& all_variants() {
  static const Json diagonal_fisher = {{"type", "diagonal_fisher"}, {"small_batch", 128}};
  static const std::vector<Variant> variants{
      {"plain", {{"type", "none"}}, SecondMoment::none},
      {"diag-F exact + noise", diagonal_fisher, SecondMoment::exact},
      {"diag-F spatial + noise", diagonal_fisher, SecondMoment::spatial},
      {"full Fisher", {{"type", "full_fisher"}}, SecondMoment::exact},
      {"block Fisher", {{"type", "block_fisher"}}, SecondMoment::exact},
      {"unit Fisher", {{"type", "unit_fisher"}}, SecondMoment::exact},
      {"position Fisher", {{"type", "position_fisher"}}, SecondMoment::exact},
      {"K-FAC", {{"type", "kfac"}}, SecondMoment::exact},
      {"K-FAC matrix-free", {{"type", "kfac"}, {"matrix_free", true}}, SecondMoment::exact}};
  return variants;
}

std::unique_ptr<Loader> random_loader(Context& context, const Shape& image, int64_t samples) {
  const int64_t count = std::max<int64_t>(samples, 10000);
  Dataset dataset{.name = "benchmark",
                  .count = count,
                  .height = image[0],
                  .width = image[1],
                  .channels = image[2],
                  .classes = classes,
                  .images = {},
                  .labels = labels_in_turn(count),
                  .class_names = {}};
  dataset.images.resize(static_cast<size_t>(count * dataset.image_size()));
  for (size_t i = 0; i < dataset.images.size(); ++i) dataset.images[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
  const bool colour = image[2] == 3;
  return std::make_unique<Loader>(context, dataset, channel_statistics(dataset),
                                  kernels::AugmentOptions{.padding = colour ? 4 : 0, .flip = colour});
}

RandomData random_data(Context& context, const Shape& image, int64_t samples) {
  if (context.queue.device().backend == Backend::cpu) return {random_batch(context, image, samples), nullptr};
  return {std::nullopt, random_loader(context, image, samples)};
}

std::unique_ptr<Training> make_training(Context& context, const std::string& network, const Variant& variant,
                                        const RandomData& data, int64_t micro) {
  if (data.batch) return std::make_unique<HostTraining>(context, network, variant, *data.batch, micro);
  return std::make_unique<DeviceTraining>(context, network, variant, *data.loader, micro);
}

}  // namespace noisysgd::bench
