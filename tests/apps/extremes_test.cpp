// Every number that a configuration can hold, at values near the ends of its type. Each is refused by its key or by a
// layer of the network, or the run is made.
#include <algorithm>
#include <set>

#include <noisysgd/apps/suite.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// Together they have all keys with numbers, except those of data in files; reading them fills in every default.
const char* const documents[] = {
    R"({"model": {"type": "mlp", "hidden": [4, 3], "dropout": 0.1},
        "batch": {"size": 8, "micro": 4, "change": [{"epochs": 1, "size": 4, "learning_rate": 0.1}]},
        "optimizer": {"scaling": {"type": "square_root"}, "clip_norm": 1.5, "weight_average": 0.5},
        "schedule": {"type": "step", "milestones": [0.5, 1.5], "warmup": {"epochs": 0.5, "start": 0.5}},
        "init": [{"parameters": ["linear1.weight"], "mean": 0.5, "std": 0.25}],
        "logging": {"per_layer": true, "groups": 2, "every_steps": 2}, "expect": {"test_accuracy": 50},
        "data": {"train_size": 12, "test_size": 8, "augment": {"crop_padding": 1},
                 "normalize": {"mean": [0.5], "std": [0.25]}}})",
    R"({"model": {"type": "lenet", "channels": [2, 2], "hidden": 3}, "schedule": {"type": "cosine"},
        "fisher": {"ema": 0.5, "refresh_every": 2}, "noise": {"type": "diagonal_fisher", "small_batch": 2}})",
    R"({"model": {"type": "resnet", "depth": 8, "width": 1}, "batch": {"size": 8, "ghost_size": 4}})",
    R"({"model": {"type": "alexnet", "dropout": 0.25}})",
    R"({"model": {"type": "sequential", "layers": [
        {"type": "conv2d", "out_channels": 2, "kernel": [3, 5], "stride": [2, 1], "padding": [1, 2]},
        {"type": "batch_norm", "ghost_size": 4, "epsilon": 1e-4, "momentum": 0.2}, {"type": "relu"},
        {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1},
        {"type": "average_pool", "kernel": 2, "stride": 2, "padding": 0},
        {"type": "pad_channels", "channels": 3, "stride": 2}, {"type": "dropout", "probability": 0.1},
        {"type": "flatten"}, {"type": "linear", "out_features": 5}, {"type": "linear"}]}})",
    R"({"noise": {"type": "isotropic", "sigma": 0.1, "match_trace": 2}})",
    R"({"noise": {"type": "multiplicative", "sigma": 0.1, "per": "sample"}})",
    R"({"noise": {"type": "full_fisher", "small_batch": 2, "large_batch": 16}})",
    R"({"noise": {"type": "kfac", "small_batch": 2, "refresh_every": 2, "jitter": 1e-5}})",
    R"({"noise": {"type": "fisher_trace", "small_batch": 2}})",
    R"({"noise": {"type": "unit_fisher", "small_batch": 2}})",
    R"({"noise": {"type": "label", "small_batch": 2}})"};

const char* const common = R"({"data": {"train_size": 10, "test_size": 4}, "epochs": 2, "batch": {"size": 8},
  "model": {"type": "mlp", "hidden": [3]}, "evaluation": {"batch": 3}, "loss": {"label_smoothing": 0.1},
  "optimizer": {"learning_rate": 0.01, "momentum": 0.5, "weight_decay": 0.001}})";

// Integers and fractions: a value of the wrong type for its key is refused.
const char* const extremes[] = {"-9223372036854775808",
                                "-2147483649",
                                "-1",
                                "0",
                                "1",
                                "2",
                                "14",
                                "2147483647",
                                "2147483648",
                                "4294967296",
                                "4611686018427387904",
                                "9223372036854775807",
                                "18446744073709551615",
                                "1e308",
                                "1e38",
                                "3e-39",
                                "1e-45",
                                "1e-46",
                                "-1e-46",
                                "0.99999999",
                                "0.9999"};

bool holds_number(const Json& value) { return value.is_number() || value.is_null(); }

// The last word that is no index of a list.
std::string key_of(const std::string& pointer) {
  std::string rest = pointer;
  while (true) {
    const std::size_t slash = rest.rfind('/');
    const std::string word = rest.substr(slash + 1);
    if (word.find_first_not_of("0123456789") != std::string::npos) return word;
    rest.resize(slash);
  }
}

enum class End { refused, failed_to_build, too_long, diverged, ran };

class Trial {
 public:
  End make(const Json& document, const std::string& key) {
    try {
      const Experiment experiment = read_experiment(document, "test", extensions_);
      const Regime& regime = experiment.regimes.at(0);
      DataCache data;
      std::shared_ptr<const TrainingData> loaded;
      const std::string problem = error_of([&] {
        loaded = data.get(regime);
        make_checked_model(context_, regime, *loaded, extensions_);
      });
      if (problem != "no error was thrown") {
        CHECK(problem.size() > 10);
        return End::failed_to_build;
      }
      if (regime.batch_schedule(loaded->sets.train.count).total_steps() > 100) return End::too_long;
      const TemporaryFolder folder;
      const std::string end = error_of([&] {
        train_all(context_, {experiment, extensions_, folder.path() / "out", Progress::Mode::quiet});
      });
      if (end == "no error was thrown") return End::ran;
      INFO(end);
      CHECK(contains(end, "not finite"));
      return End::diverged;
    } catch (const ConfigError& error) {
      INFO(error.what());
      std::string words = key;  // "the ghost size 14" if another key is incompatible with it
      std::replace(words.begin(), words.end(), '_', ' ');
      CHECK((contains(error.what(), key) || contains(error.what(), words)));
      return End::refused;
    }
  }

 private:
  Context context_{{}, 1};
  Extensions extensions_;
};

}  // namespace

TEST_CASE("a number at the ends of its type is refused by its key, or the run is made") {
  Trial trial;
  std::set<std::string> seen;
  std::map<End, int> ends;
  for (const char* text : documents) {
    Json document = parse_json(text, "test");
    const Json given = document;
    document = merge_config(parse_json(common, "test"), given);
    Json full = read_experiment(document, "test", {}).regimes.at(0).effective;
    if (given.contains("expect")) full["expect"] = given["expect"];
    full["seed"] = 1;
    full["threads"] = 1;
    full["budget"] = 1;
    REQUIRE(trial.make(full, "") == End::ran);
    const Json flat = full.flatten();
    for (const auto& [pointer, value] : flat.items()) {
      const bool of_this = given.contains(Json::json_pointer(pointer)) || seen.insert(key_of(pointer)).second;
      if (!holds_number(value) || !of_this) continue;
      for (const char* extreme : extremes) {
        Json changed = full;
        changed[Json::json_pointer(pointer)] = parse_json(extreme, "test");
        INFO(pointer << " = " << extreme);
        ++ends[trial.make(changed, key_of(pointer))];
      }
    }
  }
  CHECK(ends[End::refused] > 300);
  CHECK(ends[End::failed_to_build] > 10);
  CHECK(ends[End::ran] > 100);
}
