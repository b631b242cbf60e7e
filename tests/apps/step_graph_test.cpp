// Steps on the CUDA device, emulated or real: replayed as graphs they give the bits of those that are issued op by op,
// and between two reads of the log the host waits for nothing and asks for no memory.
#include <cstdlib>
#include <filesystem>

#include "apps/trainer.h"
#include "apps/training_step.h"
#include "core/file.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr const char* base = R"({
  "data": {"type": "synthetic", "train_size": 200, "test_size": 32, "augment": {"crop_padding": 2}},
  "batch": {"size": 64, "ghost_size": 32, "drop_last": true}, "epochs": 3, "logging": {"every_steps": 4},
  "optimizer": {"learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.001}, "schedule": {"type": "cosine"}})";

const char* const models[] = {R"({"type": "mlp", "hidden": [32, 16]})",
                              R"({"type": "lenet", "channels": [4, 8], "hidden": 16})",
                              R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 4, "kernel": 3, "stride": 2, "padding": 1, "bias": false},
       {"type": "batch_norm"}, {"type": "relu"}, {"type": "dropout", "probability": 0.1},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1, "bias": false},
         {"type": "batch_norm"}, {"type": "relu"}]},
       {"type": "global_average_pool"}, {"type": "linear"}]})"};

// Settings whose steps never make the host wait. K-FAC's do where it refreshes its factors: kernels/cholesky.h.
const char* const settings[] = {
    R"({"noise": {"type": "none"}})",
    R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 0.7}})",
    R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1, "match_trace": 8},
        "fisher": {"refresh_every": 2, "ema": 0.5}})",
    R"({"noise": {"type": "isotropic", "sigma": 0.01, "stop_fraction": 1}})",
    R"({"noise": {"type": "fisher_trace", "small_batch": 16, "level": "per_layer", "stop_fraction": 1}})",
    R"({"noise": {"type": "full_fisher", "small_batch": 16, "stop_fraction": 1}})",
    R"({"noise": {"type": "full_fisher", "signs": "subset", "small_batch": 16, "stop_fraction": 1}})",
    R"({"noise": {"type": "full_fisher", "signs": "gaussian", "centered": true, "small_batch": 16,
                  "position": "after_momentum", "stop_fraction": 1}})",
    R"({"noise": {"type": "unit_fisher", "small_batch": 16, "stop_fraction": 1}})",
    R"({"noise": {"type": "multiplicative", "sigma": 0.1, "stop_fraction": 1}})",
    R"({"noise": {"type": "label", "small_batch": 16, "stop_fraction": 1}})",
    R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1}, "fisher": {"kind": "true"}})",
    R"({"optimizer": {"learning_rate": 0.02, "clip_norm": 0.1, "weight_average": 0.9}})",
};

Regime regime_of(const char* model, const char* setting) {
  Json document = parse_config(base, "test");
  document["model"] = parse_json(model, "test");
  document.update(parse_json(setting, "test"));
  return read_experiment(document, "test", {}).regimes.at(0);
}

struct Trained {
  std::map<std::string, std::vector<float>> tensors;
  int64_t replayed = 0;
};

Trained train_with(const char* graphs, const Regime& regime, const std::filesystem::path& folder) {
  setenv("NSGD_GRAPH", graphs, 1);
  Context context({Backend::cuda}, 1);
  DataCache data;
  const Extensions extensions;
  REQUIRE(train(context, *data.get(regime), {regime, extensions, 7, folder, Progress::Mode::quiet}) ==
          RunOutcome::finished);
  unsetenv("NSGD_GRAPH");
  Trained trained;
  const SafetensorsFile file(folder / "checkpoint.safetensors");
  for (const auto& entry : file.entries()) trained.tensors[entry.name] = file.values<float>(entry.name);
  const auto summary = folder / "summary.json";
  trained.replayed = parse_json(read_file(summary), summary.string()).at("steps_replayed");
  return trained;
}

}  // namespace

TEST_CASE("steps that are replayed as graphs give the bits of steps that are issued") {
  for (const char* setting : settings) {
    INFO(setting);
    const TemporaryFolder folder;
    const Regime regime = regime_of(models[2], setting);
    const Trained issued = train_with("0", regime, folder.path() / "issued");
    const Trained replayed = train_with("1", regime, folder.path() / "replayed");
    CHECK(issued.replayed == 0);
    CHECK(replayed.replayed > 0);
    CHECK(replayed.tensors == issued.tensors);
  }
}

TEST_CASE("a steady step makes the host wait for nothing and asks for no memory") {
  for (const char* model : models)
    for (const char* setting : settings) {
      INFO(model << setting);
      const Regime regime = regime_of(model, setting);
      const auto data = DataCache().get(regime);
      Context context({Backend::cuda}, 1);
      Model network = make_model(context, regime, *data, {});
      const Loader loader(context, data->sets.train, data->normalisation, regime.data.augment);
      TrainingStep step(context, regime, 7, network, loader, nullptr, true);
      step.require_noise();
      network.arena().initialise(7);
      const auto run = [&](uint32_t number) {
        const kernels::StepValues values{number, 0, 64 * (number % 3), 0.01f};
        step.run({.values = values, .samples = 64, .noise = true});
      };
      for (uint32_t number = 0; number < 5; ++number) run(number);
      const int64_t waits = context.queue.waits(), requests = context.allocator.use().requests;
      for (uint32_t number = 5; number < 9; ++number) run(number);
      CHECK(context.queue.waits() == waits);
      CHECK(context.allocator.use().requests == requests);
      CHECK(step.counts().replayed >= 4);
      CHECK(step.sums().read().halted == 0);
    }
}
