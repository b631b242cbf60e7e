#include <noisysgd/bench/program/training.h>

#include <algorithm>

#include <noisysgd/bench/program/networks.h>

namespace noisysgd::bench {

namespace {

constexpr float learning_rate = 0.01f;

StepOptions options_of(const Variant& variant, int64_t micro) {
  StepOptions options{.graphs = graphs_wanted()};
  options.fisher.conv = variant.conv;
  if (micro > 0) options.micro = micro;
  return options;
}

}  // namespace

Training::Training(Context& context, const std::string& network, const Variant& variant, const Loader& loader,
                   int64_t micro)
    : model_(context, make_network(network), classes),
      noise_(Noise::read(Config(variant.noise).root(), NoiseRegistry::builtin())),
      sgd_({.momentum = 0.9, .weight_decay = 5e-4}),
      step_(context, model_, noise_, sgd_, nullptr, options_of(variant, micro)),
      source_([&loader](const StepNumbers& numbers, int64_t begin, int64_t count) {
        return loader.shuffled({numbers.epoch, numbers.first_sample, begin}, count, 1);
      }) {
  step_.begin_noise();
  model_.parameter_set().initialise(1);
}

void Training::step(int64_t samples) {
  step_.run({.values = {number_, number_, 0, learning_rate}, .samples = samples, .noise = noise_.active()}, source_);
  ++number_;
}

void Training::check() {
  const kernels::TrainingSums sums = step_.training_sums().read();
  NSGD_CHECK(sums.halted == 0, "benchmark: the loss of step {} is not finite", sums.halted_step);
}

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

Loader random_loader(Context& context, const Shape& image, int64_t samples) {
  const int64_t count = std::max<int64_t>(samples, 10000);
  Dataset dataset{.name = "benchmark",
                  .count = count,
                  .height = image[0],
                  .width = image[1],
                  .channels = image[2],
                  .classes = classes,
                  .images = {},
                  .labels = std::vector<int32_t>(static_cast<size_t>(count)),
                  .class_names = {}};
  dataset.images.resize(static_cast<size_t>(count * dataset.image_size()));
  for (size_t i = 0; i < dataset.images.size(); ++i) dataset.images[i] = static_cast<uint8_t>(i * 2654435761u >> 24);
  for (size_t i = 0; i < dataset.labels.size(); ++i) dataset.labels[i] = static_cast<int32_t>(i % classes);
  const bool colour = image[2] == 3;
  return {context, dataset, channel_statistics(dataset), {.padding = colour ? 4 : 0, .flip = colour}};
}

}  // namespace noisysgd::bench
