// model.weights: training starts from the tensors of a file with PyTorch's names and layouts.
#include <noisysgd/apps/initial_values.h>

#include <fmt/format.h>

#include <cmath>
#include <functional>

#include <noisysgd/apps/checkpoint.h>
#include <noisysgd/apps/make_model.h>
#include <noisysgd/core/file.h>
#include "tests/apps/run_files.h"
#include "tests/apps/short_training.h"
#include "tests/apps/workplace.h"
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// What a network holds, in PyTorch's layouts.
class Values : public StateVisitor {
 public:
  explicit Values(const Model& model) : context_(model.context()) { model.visit_state(*this); }
  void visit(const std::string& name, const Parameter& parameter, const Tensor& tensor) override {
    const auto internal = to_host<float>(context_, tensor);
    to_exported_layout(parameter, internal.data(), (values[name] = internal).data());
    shapes[name] = parameter.exported_shape().extents();
  }
  void visit(const std::string& name, const Tensor& tensor) override {
    values[name] = to_host<float>(context_, tensor);
    shapes[name] = tensor.shape().extents();
  }
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, StoredShape> shapes;

 private:
  Context& context_;
};

// A convolution with batch normalisation and a classifier, in which the file is named by model.weights.
struct Start {
  explicit Start(const std::string& keys = "{}") : regime(regime_with(keys)) {}

  Regime regime_with(const std::string& keys) const {
    Json model = parse_json(small_residual, "test");
    model["weights"] = path().string();
    model.update(parse_json(keys, "test"));
    return regime_of(model.dump().c_str(), "{}");
  }
  std::filesystem::path path() const { return folder / "weights.safetensors"; }
  Model model() { return make_model(context, regime, *DataCache().get(regime), {}); }
  WeightsNote load(Model& model) const { return set_initial_values(model, regime, 3); }
  std::string error() {
    Model network = model();
    return error_of([&] { load(network); });
  }

  // Writes every tensor of the network with other values, after `change`.
  std::map<std::string, std::vector<float>> write(
      const std::function<void(std::vector<StoredTensor>&)>& change = [](auto&) {}) {
    const Model network = model();
    const Values initial(network);
    std::map<std::string, std::vector<float>> values;
    std::vector<StoredTensor> tensors;
    for (const auto& [name, held] : initial.values) {
      auto& own = values[name] = held;
      for (size_t i = 0; i < own.size(); ++i) own[i] = 1.0f + static_cast<float>(i) / 64;
      tensors.push_back(stored_tensor<float>(name, initial.shapes.at(name), own));
    }
    change(tensors);
    write_safetensors(path(), tensors);
    return values;
  }

  TemporaryFolder folder;
  Context context{{}, 1};
  Regime regime;
};

StoredTensor& named(std::vector<StoredTensor>& tensors, const std::string& name) {
  return *std::ranges::find(tensors, name, &StoredTensor::name);
}

}  // namespace

TEST_CASE("a network starts from the parameters and running statistics of a file") {
  Start start;
  const auto written = start.write();
  Model model = start.model();
  CHECK(start.load(model) == fmt::format("model.weights: {}: {} tensors loaded", start.path().string(), written.size()));
  CHECK(Values(model).values == written);
  CHECK(written.contains("bn1.running_var"));
}

TEST_CASE("a network starts from a checkpoint, whose other tensors are not mentioned") {
  Start start;
  const TemporaryFolder run;
  train_on({}, regime_of(small_residual, R"({"optimizer": {"weight_average": 0.9}})"), run.path());
  std::filesystem::copy(run / "checkpoint.safetensors", start.path());
  Model loaded = start.model(), expected = start.model();
  CHECK(start.load(loaded).ends_with(" tensors loaded"));
  Checkpoint(start.path()).load(expected, SavedWeights::last);
  CHECK(Values(loaded).values == Values(expected).values);
}

TEST_CASE("the folder of a run stands for its checkpoint, and another folder is told from a file") {
  Start start;
  const TemporaryFolder run;
  train_on({}, regime_of(small_residual, "{}"), run.path());
  Json keys{{"weights", run.path().string()}};
  start.regime = start.regime_with(keys.dump());
  Model model = start.model();
  CHECK(start.load(model).starts_with("model.weights: " + (run / "checkpoint.safetensors").string() + ": "));
  keys["weights"] = start.folder.path().string();
  start.regime = start.regime_with(keys.dump());
  CHECK(start.error() == fmt::format("test: model.weights: {}: holds no checkpoint.safetensors; expected a safetensors "
                                     "file, or the folder of a run",
                                     start.folder.path().string()));
  const std::filesystem::path of_suite = start.folder.path() / "LB/seed-1";
  std::filesystem::create_directories(of_suite);
  std::filesystem::copy(run / "checkpoint.safetensors", of_suite);
  CHECK(start.error() == fmt::format("test: model.weights: {}: holds no checkpoint.safetensors; give the folder of one "
                                     "of its runs: {}",
                                     start.folder.path().string(), of_suite.string()));
}

TEST_CASE("a file of doubles is rounded, and PyTorch's counters are not mentioned") {
  Start start;
  std::vector<double> doubles;
  const std::vector<int64_t> counted{7};
  const auto written = start.write([&](std::vector<StoredTensor>& tensors) {
    StoredTensor& bias = named(tensors, "linear1.bias");
    for (int k = 0; k < 10; ++k) doubles.push_back(1 / 3.0 + k);
    bias = stored_tensor<double>(bias.name, bias.shape, doubles);
    tensors.push_back(stored_tensor<int64_t>("bn1.num_batches_tracked", {}, counted));
  });
  Model model = start.model();
  CHECK(start.load(model).ends_with(fmt::format("{} tensors loaded", written.size())));
  CHECK(Values(model).values.at("linear1.bias")[1] == static_cast<float>(1 / 3.0 + 1));
}

TEST_CASE("what a file lacks starts from the seed, and a note lists it and what is not used") {
  Start start;
  start.write([](std::vector<StoredTensor>& tensors) {
    std::erase_if(tensors, [](const StoredTensor& tensor) { return tensor.name == "linear1.weight"; });
    named(tensors, "linear1.bias").name = "head.bias";
  });
  Model model = start.model(), plain = start.model();
  plain.parameter_set().initialise(3);
  CHECK(start.load(model).ends_with(
      " tensors loaded; not there, so initialised: linear1.weight, linear1.bias; not used: head.bias"));
  const Values own(model), initial(plain);
  CHECK(own.values.at("linear1.weight") == initial.values.at("linear1.weight"));
  CHECK(own.values.at("conv1.weight") != initial.values.at("conv1.weight"));
}

TEST_CASE("tensors that do not fit a network are named with their shapes, and may be left out") {
  const std::vector<float> other(20);
  const auto misfit = [&](std::vector<StoredTensor>& tensors) {
    named(tensors, "linear1.weight") = stored_tensor<float>("linear1.weight", {5, 4}, other);
    named(tensors, "linear1.bias") = stored_tensor<float>("linear1.bias", {20}, other);
  };
  Start start;
  start.write(misfit);
  CHECK(start.error() == fmt::format("test: model.weights: {}: \"linear1.weight\" has shape [5,4], expected [10,4], "
                                     "\"linear1.bias\" has shape [20], expected [10]; model.skip_weights leaves "
                                     "tensors out",
                                     start.path().string()));
  start.regime = start.regime_with(R"({"skip_weights": ["linear1.*"]})");
  Model model = start.model();
  CHECK(start.load(model).ends_with(" tensors loaded; skipped, so initialised: linear1.weight, linear1.bias"));
  start.regime = start.regime_with(R"({"skip_weights": ["linear1.*", "liner2.*"]})");
  CHECK(contains(start.error(), "model.skip_weights: \"liner2.*\" matches no tensor of " + start.path().string()));
  start.regime = start.regime_with(R"({"skip_weights": ["*"]})");
  CHECK(start.error().ends_with(": model.skip_weights leaves out every tensor that the network has"));
}

TEST_CASE("a file that cannot be used as model.weights is refused before the run begins") {
  Start start;
  const std::string begin = fmt::format("test: model.weights: {}: ", start.path().string());
  CHECK(start.error() == fmt::format("test: model.weights: cannot read {}: No such file or directory", start.path().string()));
  write_file_atomically(start.path(), "nonsense");
  CHECK(start.error().starts_with(fmt::format("test: model.weights: cannot read {}: ", start.path().string())));
  const std::vector<float> one{1};
  write_safetensors(start.path(), std::vector{stored_tensor<float>("module.fc", {1}, one)});
  CHECK(start.error().starts_with(
      begin + "holds none of the network's tensors (it has module.fc; the network has conv1.weight, bn1.weight"));
  const std::vector<int64_t> whole(10);
  start.write([&](auto& tensors) {
    named(tensors, "linear1.bias") = stored_tensor<int64_t>("linear1.bias", {10}, whole);
  });
  CHECK(start.error() == begin + "\"linear1.bias\" has type I64, expected F32 or F64");
  std::vector<float> infinite(10);
  infinite[9] = INFINITY;
  start.write([&](auto& tensors) {
    named(tensors, "linear1.bias") = stored_tensor<float>("linear1.bias", {10}, infinite);
  });
  const std::string refused = begin + "\"linear1.bias\" holds values that are not finite";
  CHECK(start.error() == refused);
  Model model = start.model();
  CHECK(error_of([&] { check_initial_values(model, start.regime); }) == refused);
  CHECK(contains(error_of([&] { Start(R"({"weights": 3})").model(); }), "$.model.weights: expected a text, got 3"));
  CHECK(contains(error_of([&] { Start(R"({"skip_weights": "fc"})").model(); }), "$.model.skip_weights: expected a list"));
}

TEST_CASE("a run tells once what it loaded, and is resumed without the file") {
  const Workplace place;
  REQUIRE(place.run({"--output", "first", "--quiet"}).status == 0);
  std::filesystem::copy(place.path() / "first/checkpoint.safetensors", place.path() / "weights.safetensors");
  const std::vector<std::string> second{"--output", "second", "--set", "model.weights=weights.safetensors"};
  const CommandResult result = place.run(second);
  REQUIRE(result.status == 0);
  const std::string note = "second: model.weights: weights.safetensors: 8 tensors loaded\n";
  REQUIRE(contains(result.output, note));
  CHECK(result.output.find(note) == result.output.rfind(note));
  CHECK(tensors_of(place.path() / "second") != tensors_of(place.path() / "first"));
}
