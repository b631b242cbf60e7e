// Every configuration of the paper's tables trains at half precision on the CUDA device, emulated or real: three steps
// of its network and its noise on random images. Only the sizes of the data and of the batches differ.
#include <algorithm>
#include <cmath>
#include <set>

#include "tests/apps/short_training.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// The regime alone, with batches of four images in two ghost batches.
Json short_document(const Json& published, Json regime) {
  const std::string data = published.at("data").at("type");
  Json document = published;
  document.erase("schedule");
  document["data"] = {{"type", "synthetic"},
                      {"colour", data.starts_with("cifar")},
                      {"train_size", 4},
                      {"test_size", 2},
                      {"augment", published.at("data").value("augment", Json::object())}};
  document["epochs"] = 3;
  document["batch"] = {{"size", 4}, {"ghost_size", 2}};
  document["precision"] = "half";
  document["optimizer"]["learning_rate"] = 0.01;
  document["seeds"] = {1};
  for (const char* key : {"batch", "schedule", "expect", "data"}) regime.erase(key);
  if (regime.contains("optimizer")) regime["optimizer"].erase("learning_rate");
  if (regime.contains("noise")) {
    Json& noise = regime["noise"];
    if (noise.contains("small_batch")) noise["small_batch"] = 2;
    if (noise.contains("stop_fraction")) noise["stop_fraction"] = 1;
  }
  document["regimes"] = Json::array({regime});
  return document;
}

const std::filesystem::path tables = std::filesystem::path(NSGD_SOURCE_DIR) / "apps/configs/paper";

// The regimes of one file, each noise once: what else differs does not change a step's kernels.
void check_file(const std::string& name) {
  const Json published = parse_config_file((tables / name).string());
  std::set<std::string> trained;
  for (const Json& given : published.at("regimes")) {
    const Json document = short_document(published, given);
    const Json& regime = document.at("regimes").at(0);
    if (!trained.insert(regime.value("noise", Json()).dump()).second) continue;
    INFO(name << ", " << regime.at("name"));
    const TemporaryFolder folder;
    const Trained run =
        train_on({Backend::cuda}, read_experiment(document, "test", {}).regimes.at(0), folder.path() / "run");
    CHECK(run.summary.at("precision") == "half");
    CHECK(run.summary.at("steps") == 3);
    for (const auto& [tensor, values] : run.tensors) {
      INFO(tensor);
      CHECK(std::ranges::all_of(values, [](float value) { return std::isfinite(value); }));
    }
  }
  CHECK(trained.size() >= 2);
}

std::set<std::string>& chosen_files() {
  static std::set<std::string> names;
  return names;
}

}  // namespace

// A test case for each file, since they run beside each other.
#define CHECK_FILE(name)                                                                                           \
  [[maybe_unused]] static const bool INTERNAL_CATCH_UNIQUE_NAME(chosen_file) = chosen_files().insert(name).second; \
  TEST_CASE(name " trains three steps at half") { check_file(name); }

CHECK_FILE("table1/mnist_mlp.json")
CHECK_FILE("table1/mnist_lenet.json")
CHECK_FILE("table1/cifar10_alexnet.json")
CHECK_FILE("table1/cifar10_vgg16.json")
CHECK_FILE("table1/cifar100_resnet44x2.json")
CHECK_FILE("table2/cifar10_resnet44.json")

TEST_CASE("the files that train at half have the networks and the noises of all of them") {
  std::set<std::string> networks, noises, all_networks, all_noises;
  for (const char* table : {"table1", "table2"})
    for (const auto& entry : std::filesystem::directory_iterator(tables / table)) {
      const std::string name = std::string(table) + "/" + entry.path().filename().string();
      const Json published = parse_config_file(entry.path().string());
      const bool trains = chosen_files().contains(name);
      all_networks.insert(published.at("model").dump());
      if (trains) networks.insert(published.at("model").dump());
      for (const Json& regime : published.at("regimes")) {
        const std::string noise = regime.value("noise", Json::object()).value("type", "none");
        all_noises.insert(noise);
        if (trains) noises.insert(noise);
      }
    }
  CHECK(networks == all_networks);
  CHECK(noises == all_noises);
}
