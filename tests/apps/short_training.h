// Short trainings on a device, and the files that they write.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/trainer.h>
#include "tests/apps/run_files.h"
#include "tests/catch.h"

namespace noisysgd::test {

inline constexpr const char* short_training = R"({
  "data": {"type": "synthetic", "train_size": 200, "test_size": 32, "augment": {"crop_padding": 2}},
  "batch": {"size": 64, "ghost_size": 32, "drop_last": true}, "epochs": 3, "logging": {"every_steps": 4},
  "optimizer": {"learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.001}, "schedule": {"type": "cosine"}})";

inline constexpr const char* small_mlp = R"({"type": "mlp", "hidden": [32, 16]})";
inline constexpr const char* small_lenet = R"({"type": "lenet", "channels": [4, 8], "hidden": 16})";
inline constexpr const char* small_residual = R"({"type": "sequential", "layers": [
  {"type": "conv2d", "out_channels": 4, "kernel": 3, "stride": 2, "padding": 1, "bias": false},
  {"type": "batch_norm"}, {"type": "relu"}, {"type": "dropout", "probability": 0.1},
  {"type": "residual", "body": [{"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1, "bias": false},
    {"type": "batch_norm"}, {"type": "relu"}]},
  {"type": "global_average_pool"}, {"type": "linear"}]})";

// The keys of the settings replace those of the short training.
inline Regime regime_of(const char* model, const std::string& settings, const Extensions& extensions = {}) {
  Json document = parse_config(short_training, "test");
  document["model"] = parse_json(model, "test");
  document.update(parse_json(settings, "test"));
  return read_experiment(document, "test", extensions).regimes.at(0);
}

struct Trained {
  std::map<std::string, std::vector<float>> tensors;  // of the last checkpoint
  std::vector<Json> metrics;                          // without times
  Json summary;
};

inline Trained train_on(Device device, const Regime& regime, const std::filesystem::path& folder,
                        const Extensions& extensions = {}) {
  Context context(device, 1);
  DataCache data;
  REQUIRE(train(context, *data.get(regime), {regime, extensions, 7, folder, Progress::Mode::quiet}) ==
          RunOutcome::finished);
  return {tensors_of(folder), metrics_of(folder), run_summary(folder).value()};
}

}  // namespace noisysgd::test
