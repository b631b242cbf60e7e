// Names given by users never collide with those of a run's files and of the tensors in its checkpoint.
#include <noisysgd/apps/names.h>

#include <iterator>
#include <set>

#include <noisysgd/apps/suite.h>
#include <noisysgd/layers/registry.h>
#include "tests/apps/run_files.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;

TEST_CASE("no file of a run can be a regime's name, and no prefix of a checkpoint's tensors a layer's") {
  const test::TemporaryFolder folder;
  const Extensions extensions;
  const auto train = [&](const std::string& optimizer, const std::string& output) {
    const Experiment experiment = read_experiment(
        parse_config(R"({"optimizer": {"type": ")" + optimizer + R"(", "weight_average": 0.5},
    "data": {"train_size": 16, "test_size": 4}, "epochs": 1, "batch": {"size": 8}, "fisher": {"ema": 0.5},
    "model": {"type": "sequential", "layers": [
      {"type": "conv2d", "out_channels": 2, "kernel": 3, "stride": 4}, {"type": "batch_norm"}, {"type": "flatten"},
      {"type": "linear"}]},
    "noise": {"type": "kfac", "small_batch": 2, "refresh_every": 2, "stop_fraction": 1}})",
                     "test"),
        "test", extensions);
    Context context({}, 1);
    train_all(context, {experiment, extensions, folder.path() / output, Progress::Mode::quiet});
  };
  train("sgd", "out");
  train("adamw", "by_adamw");

  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path() / "out")) {
    const std::string name = entry.path().filename().string();
    INFO(name);
    CHECK_FALSE(regime_name_problem(name).empty());
    ++files;
  }
  CHECK(files >= 9);

  std::set<std::string> scopes;
  for (const char* const output : {"out", "by_adamw"})
    for (const auto& [name, values] : test::tensors_of(folder.path() / output)) {
      const std::string first = name.substr(0, name.find('.'));
      if (first != "conv1" && first != "bn1" && first != "linear1") scopes.insert(first);
    }
  CHECK(scopes == std::set<std::string>(std::begin(checkpoint_scopes), std::end(checkpoint_scopes)));
}
