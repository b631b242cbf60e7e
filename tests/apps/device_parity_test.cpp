// The same short training on the CPU and on the CUDA device, emulated or real: the same data order, augmentation,
// labels and noise, so that every tensor of the checkpoint agrees to rounding.
#include <filesystem>

#include "apps/trainer.h"
#include "core/safetensors.h"
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr const char* base = R"({
  "data": {"type": "synthetic", "train_size": 200, "test_size": 32, "augment": {"crop_padding": 2}},
  "batch": {"size": 64, "ghost_size": 32}, "epochs": 1,
  "optimizer": {"learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.001}})";

struct Named {
  const char *name, *json;
};
const Named models[] = {
    {"MLP", R"({"type": "mlp", "hidden": [32, 16]})"},
    {"LeNet", R"({"type": "lenet", "channels": [4, 8], "hidden": 16})"},
    {"residual", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 4, "kernel": 3, "stride": 2, "padding": 1, "bias": false},
       {"type": "batch_norm"}, {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1, "bias": false},
         {"type": "batch_norm"}, {"type": "relu"}]},
       {"type": "global_average_pool"}, {"type": "linear"}]})"},
};
const Named noises[] = {
    {"plain", R"({"noise": {"type": "none"}})"},
    {"diag(F) exact", R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1}})"},
    {"diag(F) spatial", R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1},
                            "fisher": {"conv": "spatial"}})"},
    {"isotropic", R"({"noise": {"type": "isotropic", "sigma": 0.01, "stop_fraction": 1}})"},
};

std::map<std::string, std::vector<float>> train_on(Device device, const Regime& regime,
                                                   const std::filesystem::path& folder) {
  Context context(device, 1);
  DataCache data;
  const Extensions extensions;
  REQUIRE(train(context, *data.get(regime), {regime, extensions, 7, folder, Progress::Mode::quiet}) ==
          RunOutcome::finished);
  const SafetensorsFile file(folder / "checkpoint.safetensors");
  std::map<std::string, std::vector<float>> tensors;
  for (const auto& entry : file.entries()) tensors[entry.name] = file.values<float>(entry.name);
  return tensors;
}

}  // namespace

TEST_CASE("three steps of training agree on both devices") {
  for (const Named& model : models) {
    for (const Named& noise : noises) {
      Json document = parse_config(base, "test");
      document["model"] = parse_json(model.json, "test");
      document.update(parse_json(noise.json, "test"));
      const Regime regime = read_experiment(document, "test", {}).regimes.at(0);
      const TemporaryFolder folder;
      const auto expected = train_on({}, regime, folder.path() / "cpu");
      const auto actual = train_on({Backend::cuda}, regime, folder.path() / "cuda");
      REQUIRE(actual.size() == expected.size());
      for (const auto& [name, values] : expected) {
        INFO(model.name << ", " << noise.name << ": " << name);
        // Three forward and backward passes: rounding of the first step goes through the later ones.
        CHECK(compare(actual.at(name), to_double(values), {.terms = 784, .condition = 3}) == "");
      }
    }
  }
}
