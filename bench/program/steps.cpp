#include <noisysgd/bench/program/steps.h>

#include <fmt/format.h>

#include <algorithm>

#include <noisysgd/bench/machine.h>
#include <noisysgd/bench/measure.h>
#include <noisysgd/bench/program/networks.h>
#include <noisysgd/bench/program/training.h>

namespace noisysgd::bench {

namespace {

// All micro-batches use the same memory in turn, so two of them reach the peak of the whole batch.
int64_t two_micro_batches(const StepOptions& options) {
  return options.micro == 0 ? options.batch : std::min(options.batch, 2 * options.micro);
}

// The plain step and the requested variants.
std::vector<Variant> chosen_variants(const StepOptions& options) {
  std::vector<Variant> chosen;
  for (const Variant& variant : all_variants())
    if (options.variants.empty() || std::ranges::count(options.variants, variant.name) ||
        variant.conv == SecondMoment::none)
      chosen.push_back(variant);
  return chosen;
}

// After this many steps of a kind, a device has issued one, recorded one and replayed it.
constexpr int steps_until_steady = 3;

struct MemoryPeak {
  size_t allocated;  // peak of the tensors, plus the queue's workspace
  // On a CUDA device: all memory that the allocator reserved, plus the workspace. Otherwise: the peak of the process's
  // resident memory, 0 if the system does not report it.
  size_t held;
};

MemoryPeak measure_memory(const std::string& network, const Variant& variant, const StepOptions& options) {
  const bool marked = reset_resident_peak();
  Context context(options.device, options.threads);
  context.queue.set_precision(options.precision);
  const Loader loader = random_loader(context, make_network(network)->input_shape(), options.batch);
  Training training(context, network, variant, loader, options.micro);
  for (int i = 0; i < steps_until_steady; ++i) training.step(two_micro_batches(options));
  training.check();
  const MemoryUse use = context.allocator.use();
  const size_t workspace = context.queue.workspace_bytes();
  if (options.device.backend == Backend::cuda) return {use.peak + workspace, use.reserved + workspace};
  return {use.peak + workspace, marked ? resident_peak() : 0};
}

std::string mebibytes(size_t bytes) {
  return bytes == 0 ? "-" : fmt::format("{:.0f}", static_cast<double>(bytes) / (1 << 20));
}

std::string note(const StepOptions& options) {
  const bool on_device = options.device.backend == Backend::cuda;
  return fmt::format(
      "Medians of {} alternating step{}{}. Memory: peak of tensors plus workspace; in parentheses {}. Time ratios are "
      "medians over rounds. Loading: gathered from uint8, normalised, colour images cropped and flipped; part of the "
      "steps above.",
      options.rounds, options.rounds > 1 ? "s" : "",
      !on_device        ? ""
      : graphs_wanted() ? ", replayed as graphs"
                        : ", issued op by op",
      on_device ? "all device memory that the process reserved for them" : "the process's resident peak");
}

}  // namespace

std::vector<std::string> step_variants() {
  std::vector<std::string> names;
  for (const Variant& variant : all_variants()) names.push_back(variant.name);
  return names;
}

void run_steps(const std::string& network, const StepOptions& options, int steps) {
  for (const Variant& variant : chosen_variants(options)) {
    Context context(options.device, options.threads);
    context.queue.set_precision(options.precision);
    const Loader loader = random_loader(context, make_network(network)->input_shape(), options.batch);
    Training training(context, network, variant, loader, options.micro);
    for (int i = 0; i < steps; ++i) training.step(options.batch);
    training.check();
    fmt::print("{}, {}: {} step{} done\n", network, variant.name, steps, steps > 1 ? "s" : "");
  }
}

Section measure_steps(const std::string& network, const StepOptions& options) {
  const int64_t micro = options.micro == 0 ? options.batch : options.micro;
  const bool on_device = options.device.backend == Backend::cuda;
  const std::vector<Variant> chosen = chosen_variants(options);
  std::vector<MemoryPeak> memory;
  for (const Variant& variant : chosen) memory.push_back(measure_memory(network, variant, options));

  Context context(options.device, options.threads);
  context.queue.set_precision(options.precision);
  const Loader loader = random_loader(context, make_network(network)->input_shape(), options.batch);
  std::vector<std::unique_ptr<Training>> trainings;
  std::vector<Call> cases;
  for (const Variant& variant : chosen) {
    trainings.push_back(std::make_unique<Training>(context, network, variant, loader, options.micro));
    Training* training = trainings.back().get();
    Call& one = cases.emplace_back(Call{variant.name, [&options, training] { training->step(options.batch); }});
    if (!on_device) one.warm_up = [&options, training] { training->step(two_micro_batches(options)); };
  }
  // The trainings share the arena. When the first steps of one make it grow, the buffers of the others move, and their
  // graphs are recorded again.
  for (int again = 0; on_device && again < 2; ++again)
    for (const auto& training : trainings)
      for (int i = 0; i < steps_until_steady; ++i) training->step(options.batch);
  cases.push_back({"loading the batch", [&options, micro, &loader] {
                     for (int64_t begin = 0; begin < options.batch; begin += micro)
                       loader.shuffled({.offset = begin}, std::min(micro, options.batch - begin), 1);
                   }});
  const std::vector<Samples> times = measure(context.queue, cases, options.rounds);
  for (const auto& training : trainings) training->check();

  Section section{.title = fmt::format("Training step: {}, batch {}, micro-batch {}", network, options.batch, micro),
                  .note = note(options),
                  .table = TextTable({"step", "ms", "p5 – p95", "samples/s", "time / plain",
                                      on_device ? "peak MiB (held)" : "peak MiB (resident)", "memory / plain"}),
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
                           fmt::format("{} ({})", mebibytes(memory[i].allocated), mebibytes(memory[i].held)),
                           fmt::format("{:.3f}", memory_ratio)});
    Json& entry = section.json["variants"].emplace_back(Json{{"name", cases[i].name},
                                                             {"seconds", times[i].json()},
                                                             {"time_ratio", time_ratio},
                                                             {"peak_bytes", memory[i].allocated},
                                                             {"memory_ratio", memory_ratio}});
    entry[on_device ? "held_bytes" : "resident_peak_bytes"] = memory[i].held;
    if (!on_device) continue;
    const StepCounts counts = trainings[i]->counts();
    entry["steps"] = {{"issued", counts.issued}, {"recorded", counts.recorded}, {"replayed", counts.replayed}};
    if (const auto smaller = trainings[i]->chosen_micro_batch()) entry["micro_batch"] = *smaller;
  }
  const Samples& loading = times.back();
  section.table.add_row({cases.back().name, milliseconds(loading.median()), loading.spread(),
                         fmt::format("{:.0f}", static_cast<double>(options.batch) / loading.median()),
                         fmt::format("{:.3f}", loading.ratio(times[0])), "", ""});
  section.json["loading"] = {{"seconds", loading.json()}, {"time_ratio", loading.ratio(times[0])}};
  return section;
}

}  // namespace noisysgd::bench
