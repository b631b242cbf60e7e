#include "apps/bench/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/bench/machine.h"
#include "apps/bench/measure.h"
#include "apps/bench/networks.h"
#include "data/loader.h"
#include "kernels/random.h"
#include "layers/model.h"
#include "optim/sgd.h"

namespace noisysgd::bench {

namespace {

struct Variant {
  const char* name;
  Json noise;
  SecondMoment conv;
};

const Json diagonal_fisher = {{"type", "diagonal_fisher"}, {"small_batch", 128}};
const Variant variants[] = {{"plain", {{"type", "none"}}, SecondMoment::none},
                            {"diag-F exact + noise", diagonal_fisher, SecondMoment::exact},
                            {"diag-F spatial + noise", diagonal_fisher, SecondMoment::spatial},
                            {"full Fisher", {{"type", "full_fisher"}}, SecondMoment::exact},
                            {"block Fisher", {{"type", "block_fisher"}}, SecondMoment::exact},
                            {"unit Fisher", {{"type", "unit_fisher"}}, SecondMoment::exact},
                            {"position Fisher", {{"type", "position_fisher"}}, SecondMoment::exact},
                            {"K-FAC", {{"type", "kfac"}}, SecondMoment::exact},
                            {"K-FAC matrix-free", {{"type", "kfac"}, {"matrix_free", true}}, SecondMoment::exact}};

// What the trainer keeps for a run, and one step of it.
class Training {
 public:
  Training(Context& context, const std::string& network, const Variant& variant)
      : model_(context, make_network(network), classes),
        fisher_{.conv = variant.conv},
        noise_(Noise::read(Config(variant.noise).root(), NoiseRegistry::builtin())),
        sgd_(context, {.learning_rate = 0.01, .momentum = 0.9, .weight_decay = 5e-4}, fisher_, noise_) {
    sgd_.require_sums(model_.arena());
    model_.arena().initialise(1);
  }

  void step(const Batch& batch, int64_t micro) {
    model_.arena().zero_sums();
    const NoisePasses passes = sgd_.passes({batch.size(), model_.network().ghost_size(), 1, step_});
    double loss = 0;
    for (int64_t begin = 0; begin < batch.size(); begin += micro) {
      AccumulateOptions options;
      options.seed = 1;
      options.step = step_;
      Batch rows = batch.rows(begin, std::min(begin + micro, batch.size()));
      passes.apply(begin, rows, options);
      loss += model_.accumulate(rows, options).loss;
    }
    NSGD_CHECK(std::isfinite(loss), "benchmark: the loss of step {} is {}", step_, loss);
    sgd_.step(model_.parameters(), {.learning_rate = 0.01,
                                    .batch = batch.size(),
                                    .seed = 1,
                                    .step = step_,
                                    .noise_in_gradient = passes.in_gradient()});
    ++step_;
  }

 private:
  Model model_;
  FisherOptions fisher_;
  Noise noise_;
  Sgd sgd_;
  uint32_t step_ = 0;
};

Batch random_batch(Context& context, const Shape& image, int64_t samples) {
  std::vector<int32_t> labels(static_cast<size_t>(samples));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i % classes);
  Batch batch{.images = Tensor(context, image.batched(samples)),
              .labels = from_host(context, {samples}, labels),
              .sample_weights = {}};
  kernels::random_normal(context.queue, batch.images.elements(), 0, 1, RandomStream{}, batch.images.f32());
  return batch;
}

// A data set on which to time what the trainer does for a batch before the network sees it; crops and flips in colour.
Loader random_loader(Context& context, const Shape& image, int64_t batch) {
  const int64_t count = std::max<int64_t>(batch, 10000);
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
  const bool colour = image[2] == 3;
  return {context, dataset, channel_statistics(dataset), {.padding = colour ? 4 : 0, .flip = colour}};
}

// One micro-batch after the other uses the same memory, so two show the peak of them all.
Batch two_micro_batches(const Batch& batch, int64_t micro) { return batch.rows(0, std::min(batch.size(), 2 * micro)); }

struct MemoryPeak {
  size_t allocated;  // tensors at their peak, and the queue's workspace
  size_t resident;   // of the process; 0 where the system does not tell
};

MemoryPeak measure_memory(const std::string& network, const Variant& variant, const StepOptions& options,
                          int64_t micro) {
  const bool marked = reset_resident_peak();
  Context context(options.device, options.threads);
  context.queue.set_precision(options.precision);
  Training training(context, network, variant);
  const Batch batch = random_batch(context, make_network(network)->input_shape(), options.batch);
  for (int i = 0; i < 2; ++i) training.step(two_micro_batches(batch, micro), micro);
  return {context.allocator.use().peak + context.queue.workspace_bytes(), marked ? resident_peak() : 0};
}

std::string mebibytes(size_t bytes) {
  return bytes == 0 ? "-" : fmt::format("{:.0f}", static_cast<double>(bytes) / (1 << 20));
}

}  // namespace

std::vector<std::string> step_variants() {
  std::vector<std::string> names;
  for (const Variant& variant : variants) names.push_back(variant.name);
  return names;
}

Section measure_steps(const std::string& network, const StepOptions& options) {
  const int64_t micro = options.micro == 0 ? options.batch : options.micro;
  std::vector<MemoryPeak> memory;
  std::vector<Variant> chosen;
  for (const Variant& variant : variants)
    if (options.variants.empty() || std::ranges::count(options.variants, variant.name) ||
        variant.conv == SecondMoment::none)
      chosen.push_back(variant);
  for (const Variant& variant : chosen) memory.push_back(measure_memory(network, variant, options, micro));

  Context context(options.device, options.threads);
  context.queue.set_precision(options.precision);
  const Batch batch = random_batch(context, make_network(network)->input_shape(), options.batch);
  std::vector<std::unique_ptr<Training>> trainings;
  std::vector<Case> cases;
  for (const Variant& variant : chosen) {
    trainings.push_back(std::make_unique<Training>(context, network, variant));
    Training* training = trainings.back().get();
    cases.push_back({variant.name, [&batch, micro, training] { training->step(batch, micro); },
                     [&batch, micro, training] { training->step(two_micro_batches(batch, micro), micro); }});
  }
  const Loader loader = random_loader(context, make_network(network)->input_shape(), options.batch);
  cases.push_back({"loading the batch", [&options, micro, &loader] {
                     for (int64_t begin = 0; begin < options.batch; begin += micro)
                       loader.shuffled({.offset = begin}, std::min(micro, options.batch - begin), 1);
                   }});
  const std::vector<Samples> times = measure(context.queue, cases, options.rounds);

  Section section{.title = fmt::format("Training step: {}, batch {}, micro-batch {}", network, options.batch, micro),
                  .note = fmt::format(
                      "Medians of {} alternating step{}. Memory: peak of tensors plus workspace; in parentheses the "
                      "process's resident peak. Time ratios are medians over rounds. Loading: gathered from uint8, "
                      "normalised, colour images cropped and flipped; not part of the steps above.",
                      options.rounds, options.rounds > 1 ? "s" : ""),
                  .table = TextTable(
                      {"step", "ms", "p5 – p95", "samples/s", "time / plain", "peak MiB (resident)", "memory / plain"}),
                  .key = "steps",
                  .json = {{"network", network},
                           {"batch", options.batch},
                           {"micro", micro},
                           {"precision", name_of(options.precision)},
                           {"rounds", options.rounds},
                           {"variants", Json::array()}}};
  for (size_t i = 0; i < chosen.size(); ++i) {
    const double time_ratio = times[i].ratio(times[0]);
    const double memory_ratio = static_cast<double>(memory[i].allocated) / static_cast<double>(memory[0].allocated);
    section.table.add_row({cases[i].name, milliseconds(times[i].median()), times[i].spread(),
                           fmt::format("{:.0f}", static_cast<double>(options.batch) / times[i].median()),
                           fmt::format("{:.3f}", time_ratio),
                           fmt::format("{} ({})", mebibytes(memory[i].allocated), mebibytes(memory[i].resident)),
                           fmt::format("{:.3f}", memory_ratio)});
    section.json["variants"].push_back({{"name", cases[i].name},
                                        {"seconds", times[i].json()},
                                        {"time_ratio", time_ratio},
                                        {"peak_bytes", memory[i].allocated},
                                        {"resident_peak_bytes", memory[i].resident},
                                        {"memory_ratio", memory_ratio}});
  }
  const Samples& loading = times.back();
  section.table.add_row({cases.back().name, milliseconds(loading.median()), loading.spread(),
                         fmt::format("{:.0f}", static_cast<double>(options.batch) / loading.median()),
                         fmt::format("{:.3f}", loading.ratio(times[0])), "", ""});
  section.json["loading"] = {{"seconds", loading.json()}, {"time_ratio", loading.ratio(times[0])}};
  return section;
}

}  // namespace noisysgd::bench
