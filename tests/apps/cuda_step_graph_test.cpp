// Steps on the CUDA device, emulated or real: steps replayed as graphs give the bits of steps issued op by op, and
// between two reads of the log the host does not wait and allocates no memory.
#include <algorithm>
#include <cmath>
#include <set>

#include "tests/apps/short_training.h"
#include "tests/environment.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

struct Setting {
  const char* json;
  // Variants of steps: logged and unlogged ones. Noise that stops adds two, a statistic that is refreshed every other
  // step one, and the beginning of an average one.
  int kinds = 2;
};

// Every noise structure, and every option that changes the operations of a step.
const Setting settings[] = {
    {R"({"noise": {"type": "none"}, "fisher": {"conv": "exact"}, "logging": {"every_steps": 2, "per_layer": true,
        "noise_scale": true}})"},
    {R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 0.7}, "precision": "half"})", 4},
    {R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1, "match_trace": 8},
        "fisher": {"refresh_every": 2, "ema": 0.5}, "precision": "fp32"})",
     4},
    {R"({"noise": {"type": "isotropic", "sigma": 0.01, "stop_fraction": 1, "match_trace": 8}})"},
    {R"({"noise": {"type": "fisher_trace", "small_batch": 16, "level": "per_layer", "stop_fraction": 1}})"},
    {R"({"noise": {"type": "full_fisher", "small_batch": 16, "stop_fraction": 1}})"},
    {R"({"noise": {"type": "full_fisher", "signs": "subset", "small_batch": 16, "stop_fraction": 1}})"},
    {R"({"noise": {"type": "full_fisher", "signs": "gaussian", "centered": true, "small_batch": 16,
                  "position": "after_momentum", "stop_fraction": 1}})"},
    {R"({"noise": {"type": "block_fisher", "small_batch": 16, "stop_fraction": 1}})"},
    {R"({"noise": {"type": "unit_fisher", "small_batch": 16, "stop_fraction": 1}})"},
    {R"({"noise": {"type": "position_fisher", "small_batch": 16, "stop_fraction": 1},
        "batch": {"size": 64, "ghost_size": 32, "drop_last": true, "micro": 32}})"},
    {R"({"noise": {"type": "kfac", "small_batch": 16, "refresh_every": 1, "stop_fraction": 1, "match_trace": 8}})"},
    {R"({"noise": {"type": "kfac", "small_batch": 16, "refresh_every": 2, "matrix_free": true, "stop_fraction": 1}})",
     3},
    {R"({"noise": {"type": "multiplicative", "sigma": 0.1, "stop_fraction": 1, "match_trace": 8}})"},
    {R"({"noise": {"type": "label", "small_batch": 16, "stop_fraction": 1}})"},
    {R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1}, "fisher": {"kind": "true"}})"},
    {R"({"optimizer": {"learning_rate": 0.02, "clip_norm": 0.1, "weight_average": 0.9},
        "noise": {"type": "full_fisher", "small_batch": 16, "stop_fraction": 1}})"},
    {R"({"optimizer": {"type": "adamw", "learning_rate": 0.01}, "noise": {"type": "diagonal_fisher",
        "small_batch": 16, "stop_fraction": 1}})"},
};

// Only for ghost batches.
constexpr const char* centered =
    R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1},
        "fisher": {"batch_norm": "activation_centered"}})";
constexpr const char* ghost_variance =
    R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1},
        "fisher": {"batch_norm": "ghost_variance"}})";
// Batches that change and do not divide the epoch. Seven kinds of steps: with noise the two of 24 samples, the last 8
// of an epoch and 64; without it 64 logged and not, and 8.
constexpr const char* changing =
    R"({"noise": {"type": "diagonal_fisher", "small_batch": 4, "stop_fraction": 0.5},
        "batch": {"size": 64, "change": [{"epochs": 1, "size": 24}]}})";

Trained train_with(const char* graphs, const Regime& regime, const std::filesystem::path& folder,
                   const Extensions& extensions = {}) {
  const test::Variable variable("NSGD_GRAPH", graphs);
  return train_on({Backend::cuda}, regime, folder, extensions);
}

void check_replay(const char* model, const char* setting, int kinds = 2) {
  INFO(setting);
  const TemporaryFolder folder;
  const Regime regime = regime_of(model, setting);
  const Trained issued = train_with("0", regime, folder.path() / "issued");
  const Trained replayed = train_with("1", regime, folder.path() / "replayed");
  CHECK(issued.summary.at("steps_replayed") == 0);
  // The first step of a variant is issued.
  CHECK(replayed.summary.at("steps_replayed") == replayed.summary.at("steps").get<int>() - kinds);
  CHECK(replayed.tensors == issued.tensors);
  CHECK(replayed.metrics == issued.metrics);
}

void check_steady(const char* model, const char* setting) {
  INFO(model << setting);
  const Regime regime = regime_of(model, setting);
  const auto data = DataCache().get(regime);
  Context context({Backend::cuda}, 1);
  context.queue.set_precision(regime.precision);
  Model network = make_model(context, regime, *data, {});
  const Loader loader(context, data->sets.train, data->normalisation, regime.data.augment);
  Noise noise = regime.build_noise({});
  const auto optimizer = regime.build_optimizer({});
  StepOptions options = step_options(regime, 7);
  options.graphs = true;
  Step step(context, network, noise, *optimizer, nullptr, options);
  step.begin_noise();
  network.parameter_set().initialise(7);
  const BatchSource source = [&](const StepNumbers& numbers, int64_t begin, int64_t count) {
    return loader.shuffled({numbers.epoch, numbers.first_sample, begin}, count, 7);
  };
  const auto run = [&](uint32_t number) {
    const kernels::StepValues values{number, 0, 64 * (number % 3), 0.01f};
    step.run({.values = values, .samples = 64, .noise = true}, source);
  };
  for (uint32_t number = 0; number < 5; ++number) run(number);
  const int64_t waits = context.queue.waits(), requests = context.allocator.use().requests;
  const int64_t issued = step.counts().issued;
  for (uint32_t number = 5; number < 7; ++number) run(number);  // with a refreshed factor and without one
  CHECK(context.queue.waits() == waits);
  CHECK(context.allocator.use().requests == requests);
  CHECK(step.counts().issued == issued);
  CHECK(step.training_sums().read().halted == 0);
}

// Noise that reads the device's memory while it is prepared.
class LookingNoise : public NoiseStructure {
 public:
  NoiseCapabilities capabilities() const override { return {.needs_host = true}; }
  void prepare(const NoiseStep& step, std::span<kernels::NoiseField> fields) override {
    for (size_t i = 0; i < fields.size(); ++i) {
      const std::vector<float> values = to_host<float>(step.context, step.parameters[i]->value);
      fields[i].variance.constant = 1e-4f * std::abs(values[0]);
    }
  }
};

}  // namespace

TEST_CASE("the settings of the replay tests include every noise structure") {
  std::set<std::string> types;
  for (const Setting& setting : settings) types.insert(regime_of(small_mlp, setting.json).noise.options().type);
  for (const std::string& type : NoiseRegistry::builtin().types()) CHECK(types.contains(type));
}

TEST_CASE("steps replayed as graphs give the bits of issued steps") {
  for (const auto& [setting, kinds] : settings) check_replay(small_residual, setting, kinds);
  check_replay(small_residual, centered);
  check_replay(small_residual, ghost_variance);
  check_replay(small_mlp, changing, 7);
}

TEST_CASE("convolutions are replayed too, and the host does not wait for them") {
  const auto& [setting, kinds] = settings[1];
  check_replay(small_residual, setting, kinds);
  check_steady(small_lenet, setting);
}

TEST_CASE("a steady step makes the host wait for nothing and asks for no memory") {
  for (const Setting& setting : settings)
    for (const char* model : {small_mlp, small_lenet, small_residual}) check_steady(model, setting.json);
  check_steady(small_residual, centered);
  check_steady(small_residual, ghost_variance);
}

TEST_CASE("noise that waits for the device runs op by op, and steps without it as graphs") {
  const TemporaryFolder folder;
  Extensions extensions;
  extensions.noises.add("looking", [](const ConfigReader&) { return std::make_unique<LookingNoise>(); });
  const Regime regime = regime_of(small_mlp, R"({"noise": {"type": "looking", "stop_fraction": 0.34}})", extensions);
  const Trained issued = train_with("0", regime, folder.path() / "issued", extensions);
  const Trained replayed = train_with("1", regime, folder.path() / "replayed", extensions);
  CHECK(replayed.summary.at("steps") == 9);  // three with noise, then a logged and an unlogged variant
  CHECK(replayed.summary.at("steps_replayed") == 4);
  CHECK(replayed.tensors == issued.tensors);
}

TEST_CASE("a run on the device writes the same log as on the CPU") {
  const TemporaryFolder folder;
  const Regime regime = regime_of(small_residual, R"({"precision": "fp32", "epochs": 2,
    "noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 0.5},
    "logging": {"every_steps": 1, "per_layer": true, "noise_scale": true}})");
  const Trained cpu = train_on({}, regime, folder.path() / "cpu");
  const Trained cuda = train_on({Backend::cuda}, regime, folder.path() / "cuda");
  REQUIRE(cuda.metrics.size() == cpu.metrics.size());
  for (size_t i = 0; i < cpu.metrics.size(); ++i) {
    const Json flat = cpu.metrics[i].flatten(), other = cuda.metrics[i].flatten();
    REQUIRE(flat.size() == other.size());
    for (const auto& [key, value] : flat.items()) {
      INFO(key);
      if (value.is_number_float())
        CHECK(other.at(key).get<double>() == Approx(value.get<double>()).epsilon(1e-3));
      else
        CHECK(other.at(key) == value);
    }
  }
}

TEST_CASE("a loss that is not finite on the device ends the run as on the CPU") {
  const TemporaryFolder folder;
  const test::Variable graphs("NSGD_GRAPH", GENERATE("0", "1"));
  // The first epoch is trained well, in the second one step is too large.
  const Regime regime = regime_of(small_lenet, R"({"epochs": 4, "precision": "fp32",
    "optimizer": {"learning_rate": 0.02}, "schedule": {"type": "constant"},
    "noise": {"type": "kfac", "small_batch": 16, "stop_fraction": 1},
    "batch": {"size": 64, "drop_last": true,
              "change": [{"epochs": 1, "size": 64}, {"epochs": 1, "size": 32, "learning_rate": 1e30}]}})");
  std::map<std::string, std::string> errors;
  std::map<std::string, Json> records;
  for (const Device device : {Device{}, Device{Backend::cuda}}) {
    const std::string name = device.backend == Backend::cpu ? "cpu" : "cuda";
    const auto run = folder.path() / name;
    Context context(device, 1);
    DataCache data;
    try {
      train(context, *data.get(regime), {regime, {}, 7, run, Progress::Mode::quiet});
    } catch (const Divergence& divergence) {
      errors[name] = divergence.what();
      errors[name].erase(0, run.string().size());
    }
    records[name] = run_divergence(run).value();
    for (const auto& [tensor, values] : tensors_of(run))  // of the epoch before
      CHECK(std::ranges::all_of(values, [](float value) { return std::isfinite(value); }));
    // The context is usable after the failure: the next run of a suite uses it.
    const Regime next = regime_of(small_mlp, R"({"epochs": 1})");
    CHECK(train(context, *data.get(next), {next, {}, 7, folder.path() / (name + "-next"), Progress::Mode::quiet}) ==
          RunOutcome::finished);
  }
  CHECK(errors["cpu"].find("the loss is not finite at step 5 (epoch 2), first in ") != std::string::npos);
  CHECK(errors["cuda"] == errors["cpu"]);
  for (auto& [device, record] : records) CHECK(record.erase("environment") == 1);  // names the device
  CHECK(records["cuda"] == records["cpu"]);
}
