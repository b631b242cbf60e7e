// Runs of a small network with batch normalisation and noise on synthetic data.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <noisysgd/apps/trainer.h>
#include <noisysgd/core/json.h>

namespace noisysgd::test::small_runs {

inline constexpr const char* base = R"({
  "data": {"type": "synthetic", "train_size": 600, "test_size": 50, "augment": {"crop_padding": 2}},
  "model": {"type": "sequential", "layers": [
    {"type": "conv2d", "out_channels": 4, "kernel": 3, "stride": 2}, {"type": "batch_norm"}, {"type": "relu"},
    {"type": "flatten"}, {"type": "dropout", "probability": 0.2}, {"type": "linear"}]},
  "batch": {"size": 96, "ghost_size": 32}, "epochs": 12, "optimizer": {"learning_rate": 0.02, "weight_decay": 0.001},
  "noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 0.8},
  "schedule": {"type": "cosine"}, "logging": {"every_steps": 3}})";

inline Regime regime_with(const std::vector<std::string>& assignments) {
  Json document = parse_config(base, "test");
  for (const std::string& assignment : assignments) apply_override(document, assignment);
  return read_experiment(document, "test", {}).regimes.at(0);
}

inline RunOutcome run(const Regime& regime, const std::filesystem::path& folder, uint64_t seed = 7, int threads = 2,
                      Interrupts* interrupts = nullptr) {
  Context context({}, threads);
  DataCache data;
  const Extensions extensions;
  return train(context, *data.get(regime), {regime, extensions, seed, folder, Progress::Mode::quiet, interrupts});
}

}  // namespace noisysgd::test::small_runs
