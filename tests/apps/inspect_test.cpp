// The files of noisysgd-inspect: for every noise structure the sample covariance of the draws is that of its formula,
// built from the gradients of single samples with the parameters and the batch in the file.
#include <noisysgd/apps/inspect.h>

#include <fmt/format.h>

#include <noisysgd/core/safetensors.h>
#include "tests/catch.h"
#include "tests/data/bytes.h"
#include "tests/error_of.h"
#include "tests/optim/covariance_formulas.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr int64_t draws = 2000;

// Eight images of 3x3 and their labels, as IDX files: the tiny network's batch.
void put_images(const std::filesystem::path& folder) {
  using testing::idx_bytes, testing::noise_bytes, testing::put;
  for (const std::string split : {"train", "t10k"}) {
    put(folder / (split + "-images-idx3-ubyte"), idx_bytes({8, 3, 3}, noise_bytes(72)));
    put(folder / (split + "-labels-idx1-ubyte"), idx_bytes({8}, {0, 1, 2, 2, 1, 0, 1, 2}));
  }
}

// Images between -1 and 1: larger ones make some labels so unlikely that draws of them are too heavy-tailed for the
// bound of check_draws.
std::string inspect_noise(const std::string& noise, const std::filesystem::path& folder) {
  put_images(folder);
  Json document = parse_config(R"({
    "data": {"type": "idx", "normalize": {"mean": [0.5], "std": [0.5]}}, "threads": 1,
    "batch": {"size": 8, "micro": 4}, "model": {"type": "sequential", "layers": [
      {"type": "conv2d", "out_channels": 2, "kernel": 2}, {"type": "relu"}, {"type": "flatten"}, {"type": "linear"}]}})",
                               "test");
  document["data"]["root"] = folder.string();
  apply_override(document, "noise=" + noise);
  InspectOptions options;
  options.noise_draws = draws;
  options.output = folder / "inspect.safetensors";
  return inspect(read_experiment(document, "test", {}), {}, options);
}

const char* const parameters[] = {"conv1.weight", "conv1.bias", "linear1.weight", "linear1.bias"};

// With one colour, PyTorch's layouts are in our order.
Vector gather(const SafetensorsFile& file, const std::string& prefix) {
  Vector all;
  for (const char* name : parameters)
    for (const float value : file.values<float>(prefix + name)) all.push_back(value);
  return all;
}

void load(const SafetensorsFile& file, TinyNetwork& net) {
  for (size_t i = 0; i < std::size(parameters); ++i) {
    const auto values = file.values<float>(std::string("param.") + parameters[i]);
    std::copy(values.begin(), values.end(), net.model.parameters()[i]->value.f32());
  }
  const auto images = file.values<float>("input.images");
  const auto labels = file.values<int64_t>("input.labels");
  std::copy(images.begin(), images.end(), net.batch.images.f32());
  std::copy(labels.begin(), labels.end(), net.batch.labels.data<int32_t>());
}

}  // namespace

TEST_CASE("inspect draws every noise with the covariance of its formula") {
  const auto [noise, structure] = GENERATE(table<std::string, Structure>(
      {{R"({"type": "diagonal_fisher", "small_batch": 2})", Structure::diagonal},
       {R"({"type": "full_fisher", "small_batch": 2})", Structure::full},
       {R"({"type": "full_fisher", "small_batch": 2, "signs": "gaussian"})", Structure::full},
       {R"({"type": "full_fisher", "small_batch": 2, "signs": "subset"})", Structure::centered},
       {R"({"type": "full_fisher", "small_batch": 2, "centered": true})", Structure::centered},
       {R"({"type": "block_fisher", "small_batch": 2})", Structure::block},
       {R"({"type": "unit_fisher", "small_batch": 2})", Structure::unit},
       {R"({"type": "position_fisher", "small_batch": 2})", Structure::position},
       {R"({"type": "kfac", "small_batch": 2, "refresh_every": 3})", Structure::kronecker},
       {R"({"type": "kfac", "small_batch": 2, "matrix_free": true})", Structure::kronecker},
       {R"({"type": "fisher_trace", "small_batch": 2})", Structure::trace},
       {R"({"type": "multiplicative", "sigma": 1.7320508, "per": "sample"})", Structure::full},
       {R"({"type": "label", "small_batch": 2})", Structure::uniform_labels},
       {R"({"type": "label", "small_batch": 2, "labels": "model"})", Structure::model_labels},
       {R"({"type": "none"})", Structure::none}}));
  INFO(noise);
  const TemporaryFolder folder;
  inspect_noise(noise, folder.path());
  const SafetensorsFile file(folder / "inspect.safetensors");
  TinyNetwork net;
  load(file, net);
  const auto draw = [&](int k) { return gather(file, fmt::format("noise.{}.", k)); };
  if (structure == Structure::none) {
    for (const int k : {0, 1, 1999}) CHECK(draw(k) == Vector(TinyNetwork::size));
    return;
  }
  check_draws(draw, formula(net, structure), draws);
  if (structure != Structure::diagonal) return;
  const Vector diagonal = gather(file, "fisher_diag.");
  for (size_t i = 0; i < diagonal.size(); ++i)
    CHECK(kappa * diagonal[i] == Approx(formula(net, structure).at(i, i)).epsilon(1e-4).margin(1e-9));
}

TEST_CASE("inspect draws isotropic and multiplicative noise coordinate by coordinate") {
  const bool isotropic = GENERATE(true, false);
  const TemporaryFolder folder;
  inspect_noise(isotropic ? R"({"type": "isotropic", "sigma": 0.3})" : R"({"type": "multiplicative", "sigma": 0.3})",
                folder.path());
  const SafetensorsFile file(folder / "inspect.safetensors");
  const Vector gradient = gather(file, "grad.");
  Covariance expected;
  for (size_t i = 0; i < gradient.size(); ++i) expected.at(i, i) = 0.09 * (isotropic ? 1 : gradient[i] * gradient[i]);
  check_draws([&](int k) { return gather(file, fmt::format("noise.{}.", k)); }, expected, draws);
}

TEST_CASE("a file that cannot be written is reported before anything is computed") {
  InspectOptions options;
  options.noise_draws = 1 << 30;  // years
  options.output = "nowhere/inspect.safetensors";
  CHECK(error_of([&] { inspect(read_experiment(Json::object(), "test", {}), {}, options); }) ==
        "cannot write nowhere/inspect.safetensors: No such file or directory");
}

TEST_CASE("inspect uses all images if there are fewer than a batch, as training does") {
  const TemporaryFolder folder;
  put_images(folder.path());
  Json document = parse_config(R"({"data": {"type": "idx"}, "threads": 1, "batch": {"size": 4096}, "model":
    {"type": "sequential", "layers": [{"type": "flatten"}, {"type": "linear"}]}})",
                               "test");
  document["data"]["root"] = folder.path().string();
  InspectOptions options;
  options.output = folder / "inspect.safetensors";
  const Experiment experiment = read_experiment(document, "test", {});
  CHECK(contains(inspect(experiment, {}, options), "seed 1: 8 samples of "));
  CHECK(SafetensorsFile(options.output).values<int64_t>("input.labels").size() == 8);
  options.batch = 9;
  CHECK(error_of([&] { inspect(experiment, {}, options); }) == "a batch of 9 cannot be taken from 8 training images");
}

TEST_CASE("inspect reports the ghost size that its batch was normalised with") {
  const TemporaryFolder folder;
  put_images(folder.path());
  for (const bool ghosts : {false, true}) {
    Json document = parse_config(R"({"data": {"type": "idx"}, "threads": 1, "batch": {"size": 7}, "model":
      {"type": "sequential", "layers": [{"type": "flatten"}, {"type": "batch_norm"}, {"type": "linear"}]}})",
                                 "test");
    document["data"]["root"] = folder.path().string();
    if (ghosts) document["batch"]["ghost_size"] = 3;
    InspectOptions options;
    options.output = folder / "inspect.safetensors";
    const std::string summary = inspect(read_experiment(document, "test", {}), {}, options);
    const StoredMetadata metadata = SafetensorsFile(options.output).metadata();
    CHECK(metadata.contains("batch.ghost_size") == ghosts);
    CHECK(contains(summary, "note: 6 of 7 samples are used, a multiple of the ghost size\n") == ghosts);
    if (ghosts) CHECK(metadata.at("batch.ghost_size") == "3");
  }
}

TEST_CASE("inspect says that draws are zero if there is no noise") {
  const TemporaryFolder folder;
  const std::string note = "note: 8 samples of this regime get no noise: all draws are zero\n";
  CHECK(contains(inspect_noise(R"({"type": "none"})", folder.path()), note));
  CHECK(contains(inspect_noise(R"({"type": "diagonal_fisher", "small_batch": 8})", folder.path()), note));
  CHECK_FALSE(contains(inspect_noise(R"({"type": "diagonal_fisher", "small_batch": 7})", folder.path()), note));
}

TEST_CASE("a file that inspect has not written is not replaced") {
  const TemporaryFolder folder;
  const auto again = [&] { return inspect_noise(R"({"type": "none"})", folder.path()); };
  again();
  CHECK(error_of(again) == "no error was thrown");
  const std::filesystem::path path = folder / "inspect.safetensors";
  const std::vector<float> values{1, 2};
  write_safetensors(path, std::vector<StoredTensor>{stored_tensor<float>("a", {2}, values)}, {{"format", "pt"}});
  for (int kind = 0; kind < 2; ++kind) {  // weights, and no safetensors file
    const std::string before = read_file(path);
    CHECK(error_of(again) == path.string() + ": is there and is not written by noisysgd-inspect; it is not replaced");
    CHECK(read_file(path) == before);
    write_file_atomically(path, "{}");
  }
}
