// The same short training on the CPU and on the CUDA device, emulated or real: the same data order, augmentation,
// labels and noise, so that every tensor of the checkpoint agrees to rounding.
#include <algorithm>
#include <filesystem>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/optim/sgd.h>
#include "tests/apps/short_training.h"
#include "tests/compare.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr const char* base = R"({
  "data": {"type": "synthetic", "train_size": 200, "test_size": 32, "augment": {"crop_padding": 2}},
  "batch": {"size": 64, "ghost_size": 32}, "epochs": 1, "precision": "fp32",
  "optimizer": {"learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.001}})";

struct Named {
  const char *name, *json;
  double condition = 3;  // three forward and backward passes: later steps propagate the rounding of the first
};
const Named models[] = {
    {"MLP", small_mlp},
    {"LeNet", small_lenet},
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

// More settings: one for each way in which a structure forms its noise, and the options that affect every step.
const Named others[] = {
    {"full Fisher", R"({"noise": {"type": "full_fisher", "small_batch": 16, "stop_fraction": 1}})"},
    {"unit Fisher", R"({"noise": {"type": "unit_fisher", "small_batch": 16, "stop_fraction": 1}})"},
    {"position Fisher", R"({"noise": {"type": "position_fisher", "small_batch": 16, "stop_fraction": 1}})"},
    {"trace", R"({"noise": {"type": "fisher_trace", "small_batch": 16, "stop_fraction": 1}})"},
    {"label", R"({"noise": {"type": "label", "small_batch": 16, "stop_fraction": 1}})"},
    // Roots of nearly singular factors: eigenvalues are small against the rounding of the largest.
    {"K-FAC", R"({"noise": {"type": "kfac", "small_batch": 16, "jitter": 0.001, "stop_fraction": 1}})", 30},
    {"matrix-free K-FAC", R"({"noise": {"type": "kfac", "matrix_free": true, "small_batch": 16, "jitter": 0.001,
                                        "stop_fraction": 1}})"},
    {"running diag(F)", R"({"noise": {"type": "diagonal_fisher", "small_batch": 16, "stop_fraction": 1},
                            "fisher": {"refresh_every": 2, "ema": 0.5}})"},
    {"clipped and averaged", R"({"optimizer": {"learning_rate": 0.02, "weight_decay": 0.001, "clip_norm": 0.1,
                                           "weight_average": 0.9}})"},
};

void check_training(const Named& model, const Named& settings) {
  Json document = parse_config(base, "test");
  document["model"] = parse_json(model.json, "test");
  document.update(parse_json(settings.json, "test"));
  const Regime regime = read_experiment(document, "test", {}).regimes.at(0);
  const TemporaryFolder folder;
  const auto expected = train_on({}, regime, folder.path() / "cpu").tensors;
  const auto actual = train_on({Backend::cuda}, regime, folder.path() / "cuda").tensors;
  REQUIRE(actual.size() == expected.size());
  for (const auto& [name, values] : expected) {
    INFO(model.name << ", " << settings.name << ": " << name);
    if (std::ranges::all_of(values, [](float value) { return value == 0; })) {  // matrix-free K-FAC: no input factor
      CHECK(actual.at(name) == values);
      continue;
    }
    CHECK(compare(actual.at(name), to_double(values), {.terms = 784, .condition = settings.condition}) == "");
  }
}

// A network in training, with momentum.
struct Trainee {
  Trainee(Context& context, const Shape& image, uint64_t seed)
      : model(context, network_from(models[2].json, image, 3, 4), 3), step(context, model, noise, sgd, nullptr, {}) {
    model.parameter_set().initialise(seed);
  }

  Model model;
  Noise noise = Noise::none();
  Sgd sgd;
  Step step;
};

// Everything that a step collects.
class StateReader : public StateVisitor {
 public:
  StateReader(Context& context, const Step& step) : context_(context) { step.visit_state(*this); }
  void visit(const std::string& name, const Parameter&, const Tensor& tensor) override { visit(name, tensor); }
  void visit(const std::string& name, const Tensor& tensor) override {
    values[name] = to_host<float>(context_, tensor);
  }

  std::map<std::string, std::vector<float>> values;

 private:
  Context& context_;
};

// Trains in every precision. Training changes the weights by a small fraction. Rounding of operands or values by at
// most 2^-11, of gradients by 2^-8, and ReLUs or maxima that switch sides because of it, change them by a fraction of
// that.
void check_precisions(Json document) {
  const TemporaryFolder folder;
  std::map<std::string, std::vector<float>> trained[3];
  for (const kernels::Precision precision :
       {kernels::Precision::fp32, kernels::Precision::tf32, kernels::Precision::half}) {
    document["precision"] = name_of(precision);
    const auto path = folder.path() / name_of(precision);
    trained[int(precision)] =
        train_on({Backend::cuda}, read_experiment(document, "test", {}).regimes.at(0), path).tensors;
    const Json summary = parse_json(read_file(path / "summary.json"), "summary");
    CHECK(summary.at("precision") == name_of(precision));
    CHECK(summary.at("environment").at("convolutions") != "");
  }
  for (const auto& [name, values] : trained[0]) {
    if (name.starts_with("momentum.") || !name.ends_with("weight")) continue;
    INFO(name);
    const std::vector<double> expected = to_double(values);
    const double tf32 = relative_error(trained[1].at(name), expected),
                 half = relative_error(trained[2].at(name), expected);
    CHECK(tf32 < 2e-2);
    CHECK(half < 2e-2);
    CHECK(tf32 > 1e-7);
    CHECK(half > 1e-7);
    CHECK(trained[1].at(name) != trained[2].at(name));
  }
}

}  // namespace

TEST_CASE("three steps of training agree on both devices") {
  for (const Named& model : models)
    for (const Named& noise : noises) check_training(model, noise);
}

TEST_CASE("every noise structure trains alike on both devices") {
  for (const Named& other : others) check_training(models[2], other);
}

TEST_CASE("the log of every layer is the same on both devices") {
  Json document = parse_config(base, "test");
  document["model"] = parse_json(models[2].json, "test");
  document["logging"] = {{"every_steps", 1}, {"per_layer", true}, {"groups", 2}};
  const Regime regime = read_experiment(document, "test", {}).regimes.at(0);
  const TemporaryFolder folder;
  const auto first_line = [&](Device device, const std::string& name) {
    train_on(device, regime, folder.path() / name);
    const std::string text = read_file(folder.path() / name / "metrics.jsonl");
    return parse_json(text.substr(0, text.find('\n')), name).at("layers");
  };
  const Json cpu = first_line({}, "cpu"), cuda = first_line({Backend::cuda}, "cuda");
  REQUIRE(cpu.size() == 5);
  for (const auto& [layer, values] : cpu.items()) {
    REQUIRE(values.size() == 4);
    for (const auto& [name, value] : values.items()) {
      INFO(layer << " " << name);
      CHECK(cuda.at(layer).at(name).get<double>() == Approx(value.get<double>()).epsilon(2e-4));
    }
  }
}

TEST_CASE("training in tf32 and half stays near fp32, and the three results differ") {
  Json document = parse_config(base, "test");
  document["model"] = parse_json(models[1].json, "test");
  check_precisions(document);
}

TEST_CASE("training at half with batch normalisations inside convolutions stays near fp32") {
  Json document = parse_config(base, "test");
  document["data"] = {{"type", "synthetic"}, {"colour", true}, {"train_size", 24}, {"test_size", 2}};
  document["batch"] = {{"size", 8}, {"ghost_size", 4}};
  document["noise"] = {{"type", "diagonal_fisher"}, {"small_batch", 4}, {"stop_fraction", 1}};
  document["model"] = {{"type", "resnet"}, {"depth", 8}};
  check_precisions(document);
}

TEST_CASE("a device's checkpoint is read back bit for bit by the device and by the CPU") {
  const Shape image{6, 5, 2};
  const TemporaryFolder folder;
  const auto path = folder.path() / "checkpoint.safetensors";
  Context cuda({Backend::cuda}), cpu({}, 1);
  Trainee saved(cuda, image, 1);
  const Batch batch = random_batch(cuda, image, 8, 3);
  const auto source = [&](const StepNumbers&, int64_t begin, int64_t count) {
    return batch.rows(begin, begin + count);
  };
  saved.step.run({.values = {.learning_rate = 0.1f}, .samples = 8}, source);  // moves all that is saved
  const Json none = Json::object();
  save_checkpoint(path, cuda, saved.step, {.identity = none, .data = none, .state = none, .environment = none});
  for (Context* context : {&cuda, &cpu}) {
    Trainee loaded(*context, image, 2);
    const StateReader before(*context, loaded.step), expected(cuda, saved.step);
    for (const auto& [name, values] : expected.values) {
      INFO(name);
      CHECK(before.values.at(name) != values);
    }
    Checkpoint(path).load(*context, loaded.step);
    CHECK(StateReader(*context, loaded.step).values == expected.values);
  }
}
