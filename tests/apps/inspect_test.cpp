// What noisysgd-inspect writes for every noise: draws that are there, differ, and have the variance of the diagonal.
#include "apps/inspect.h"

#include <cmath>
#include <map>

#include "core/safetensors.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using noisysgd::test::TemporaryFolder;

namespace {

constexpr int64_t draws = 200;

std::map<std::string, std::vector<float>> inspected(const std::string& noise, const std::filesystem::path& folder) {
  Json document = parse_config(R"({
    "data": {"type": "synthetic", "train_size": 64, "test_size": 10}, "threads": 1, "batch": {"size": 32, "micro": 16},
    "model": {"type": "sequential", "layers": [
      {"type": "conv2d", "out_channels": 2, "kernel": 5, "stride": 4}, {"type": "relu"}, {"type": "flatten"},
      {"type": "linear"}]}})",
                               "test");
  apply_override(document, "noise=" + noise);
  InspectOptions options;
  options.noise_draws = draws;
  options.output = folder / "inspect.safetensors";
  inspect(read_experiment(document, "test", {}), {}, options);
  const SafetensorsFile file(options.output);
  std::map<std::string, std::vector<float>> all;
  for (const auto& entry : file.entries())
    if (entry.name != "input.labels") all[entry.name] = file.values<float>(entry.name);
  return all;
}

}  // namespace

TEST_CASE("inspect draws every noise; where its diagonal is kappa diag(F), the draws have that variance") {
  const auto [noise, is_fisher] =
      GENERATE(table<std::string, bool>({{R"({"type": "diagonal_fisher", "small_batch": 8})", true},
                                         {R"({"type": "full_fisher", "small_batch": 8})", true},
                                         {R"({"type": "block_fisher", "small_batch": 8})", true},
                                         {R"({"type": "unit_fisher", "small_batch": 8})", true},
                                         {R"({"type": "position_fisher", "small_batch": 8})", false},
                                         {R"({"type": "kfac", "small_batch": 8, "refresh_every": 3})", false},
                                         {R"({"type": "fisher_trace", "small_batch": 8})", false},
                                         {R"({"type": "multiplicative", "sigma": 1})", false},
                                         {R"({"type": "label", "small_batch": 8})", false}}));
  INFO(noise);
  const TemporaryFolder folder;
  const auto tensors = inspected(noise, folder.path());
  double squares = 0, trace = 0;
  for (const std::string parameter : {"conv1.weight", "conv1.bias", "linear1.weight", "linear1.bias"}) {
    CHECK(tensors.at("noise.0." + parameter) != tensors.at("noise.1." + parameter));
    for (const float d : tensors.at("fisher_diag." + parameter)) trace += d * (1.0 / 8 - 1.0 / 32);
    for (int64_t k = 0; k < draws; ++k)
      for (const float value : tensors.at("noise." + std::to_string(k) + "." + parameter))
        squares += double{value} * value / draws;
  }
  CHECK(squares > 0);
  if (is_fisher) CHECK(squares / trace == Approx(1).margin(0.35));  // F has few directions: tr F^2 is near (tr F)^2
}
