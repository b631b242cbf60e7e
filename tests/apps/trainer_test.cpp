// Whole runs on small synthetic data: interruption and resume, micro-batches, NaN, folders that cannot be used.
#include <noisysgd/apps/trainer.h>

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <functional>
#include <map>
#include <thread>

#include <noisysgd/apps/run_folder.h>
#include <noisysgd/apps/version.h>
#include <noisysgd/core/file.h>
#include <noisysgd/core/tensorboard.h>
#include "tests/apps/run_files.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/error_of.h"
#include "tests/random_tensor.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test::small_runs;
using noisysgd::test::metrics_of, noisysgd::test::tensors_of, noisysgd::test::TemporaryFolder;

namespace {

std::string error_of(const Regime& regime, const std::filesystem::path& folder, uint64_t seed = 7) {
  return test::error_of([&] { run(regime, folder, seed); });
}

// Two runs that differ only in the order of their sums.
void check_close(const std::filesystem::path& folder, const std::filesystem::path& reference) {
  const auto expected = tensors_of(reference), actual = tensors_of(folder);
  REQUIRE_FALSE(expected.empty());
  for (const auto& [name, values] : expected) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      difference += std::pow(double{values[i]} - actual.at(name)[i], 2);
      norm += std::pow(double{values[i]}, 2);
    }
    INFO(name);
    // Only noise and rounding move a convolution's bias before batch normalisation: its scale is that of the step.
    CHECK(std::sqrt(difference) <= 1e-4 * std::sqrt(norm) + 1e-6);
  }
}

}  // namespace

TEST_CASE("a run interrupted in the middle and resumed gives the bits and the metrics of an uninterrupted one") {
  const TemporaryFolder folder;
  const Regime regime = GENERATE(
      regime_with({"fisher.refresh_every=4", "fisher.ema=0.5"}),
      regime_with({R"(noise={"type": "full_fisher", "small_batch": 16, "stop_fraction": 0.8})"}),
      regime_with(
          {R"(noise={"type": "kfac", "small_batch": 16, "refresh_every": 5, "stop_fraction": 0.8})", "fisher.ema=0.5"}),
      regime_with({R"(batch.change=[{"epochs": 3, "size": 32, "learning_rate": 0.01}])", "optimizer.weight_average=0.9",
                   "optimizer.clip_norm=0.5", "optimizer.scaling.type=square_root"}));
  REQUIRE(run(regime, folder.path() / "whole") == RunOutcome::finished);

  const auto broken = folder.path() / "broken";
  {
    Interrupts interrupts;
    // The signal comes from another process, as a user's would, at some moment after the first line of the log.
    std::jthread user([&](const std::stop_token& stop) {
      std::error_code error;
      while (!stop.stop_requested() && !(std::filesystem::file_size(broken / "metrics.jsonl", error) > 0 && !error))
        std::this_thread::yield();
      if (!stop.stop_requested()) ::kill(::getpid(), SIGTERM);
    });
    REQUIRE(run(regime, broken, 7, 2, &interrupts) == RunOutcome::interrupted);
  }
  CHECK_FALSE(is_finished(broken));
  REQUIRE(run(regime, broken) == RunOutcome::finished);
  CHECK(tensors_of(broken) == tensors_of(folder.path() / "whole"));
  CHECK(metrics_of(broken) == metrics_of(folder.path() / "whole"));
}

TEST_CASE("micro-batches of whole ghost groups give the whole batch's training") {
  const TemporaryFolder folder;
  REQUIRE(run(regime_with({"epochs=1"}), folder.path() / "whole") == RunOutcome::finished);
  REQUIRE(run(regime_with({"epochs=1", "batch.micro=32"}), folder.path() / "micro") == RunOutcome::finished);
  check_close(folder.path() / "micro", folder.path() / "whole");
}

TEST_CASE("one thread and many give the same training, and the same number of threads the same bits") {
  const TemporaryFolder folder;
  const Regime regime = regime_with({"epochs=1"});
  REQUIRE(run(regime, folder.path() / "one", 7, 1) == RunOutcome::finished);
  REQUIRE(run(regime, folder.path() / "three", 7, 3) == RunOutcome::finished);
  REQUIRE(run(regime, folder.path() / "again", 7, 3) == RunOutcome::finished);
  check_close(folder.path() / "three", folder.path() / "one");
  CHECK(tensors_of(folder.path() / "three") == tensors_of(folder.path() / "again"));
}

TEST_CASE("the averaged weights are in the checkpoint and are evaluated") {
  const TemporaryFolder folder;
  const std::vector<std::string> settings{"epochs=2", R"(noise={"type": "none"})"};
  std::vector<std::string> averaged = settings;
  averaged.push_back("optimizer.weight_average=0.8");
  REQUIRE(run(regime_with(settings), folder.path() / "plain") == RunOutcome::finished);
  REQUIRE(run(regime_with(averaged), folder.path() / "averaged") == RunOutcome::finished);
  const auto plain = tensors_of(folder.path() / "plain"), with_average = tensors_of(folder.path() / "averaged");
  for (const auto& [name, values] : plain) {
    INFO(name);
    CHECK(with_average.at(name) == values);  // training does not use the average
    if (!name.starts_with("momentum.")) CHECK(with_average.at("average." + name) != values);
  }
  const auto test_loss = [&](const char* which) { return metrics_of(folder.path() / which).back().at("loss"); };
  CHECK(test_loss("plain") != test_loss("averaged"));
}

// Ghost batches of 32, and noise that must not depend on the micro-batches: signs, K-FAC and weights of losses.
TEST_CASE("micro-batches give the whole batch's training under every noise that backward passes compute") {
  const TemporaryFolder folder;
  const std::string type = GENERATE("full_fisher", "unit_fisher", "position_fisher", "kfac", "label");
  const std::string noise = R"(noise={"small_batch": 16, "stop_fraction": 1, "type": ")" + type + R"("})";
  const std::string coupling = type == "kfac" ? "ghost_variance" : "activation";
  const std::vector<std::string> common{"fisher.batch_norm=" + coupling, "epochs=1", "data.train_size=192",
                                        "model.layers[4].probability=0", noise};
  std::vector<std::string> cut = common;
  cut.push_back("batch.micro=32");
  REQUIRE(run(regime_with(common), folder.path() / "whole") == RunOutcome::finished);
  REQUIRE(run(regime_with(cut), folder.path() / "micro") == RunOutcome::finished);
  const auto whole = tensors_of(folder.path() / "whole"), micro = tensors_of(folder.path() / "micro");
  for (const std::string name : {"conv1.weight", "bn1.weight", "linear1.weight"}) {
    INFO(type << " " << name);
    CHECK(test::relative_error(micro.at(name), test::to_double(whole.at(name))) <= 1e-4);
  }
}

TEST_CASE("a loss that is not finite stops the run, names step and layer, and keeps the last checkpoint") {
  const TemporaryFolder folder;
  const Regime regime = regime_with({"optimizer.learning_rate=1e30", R"(noise={"type": "none"})"});
  const std::string error = error_of(regime, folder.path() / "nan");
  CHECK(error.find("not finite at step") != std::string::npos);
  CHECK(error.find("layer '") != std::string::npos);
  CHECK_FALSE(is_finished(folder.path() / "nan"));
  const Json record = run_divergence(folder.path() / "nan").value();
  CHECK(record.at("seed") == 7);
  CHECK(record.at("step") == 3);
  CHECK(error.find(fmt::format("step {} ", record.at("step").get<int64_t>())) != std::string::npos);
}

TEST_CASE("weights that are not finite are never saved, even if every loss is finite") {
  const TemporaryFolder folder;
  // The decay takes the first layer's bias to minus infinity, which relu makes 0: every loss is finite.
  const Regime regime = regime_with(
      {"epochs=1", "data.train_size=2", "data.augment={}", "batch={\"size\": 2}", R"(noise={"type": "none"})",
       "schedule.type=constant", R"(optimizer={"learning_rate": 1e-30, "momentum": 0, "weight_decay": 3e30})",
       R"(init=[{"parameters": ["linear1.bias"], "mean": 5e37}])",
       R"(model={"type": "sequential", "layers": [{"type": "flatten"}, {"type": "linear", "out_features": 1},
          {"type": "relu"}, {"type": "linear"}]})"});
  const std::string error = error_of(regime, folder.path());
  CHECK(error.find(": tensor 'linear1.bias' is not finite after step 1 (epoch 1)") != std::string::npos);
  CHECK(run_divergence(folder.path()).value().at("step") == 1);
  CHECK_FALSE(is_finished(folder.path()));
  CHECK_FALSE(std::filesystem::exists(folder.path() / "checkpoint.safetensors"));
}

TEST_CASE(
    "a run that diverges after its first epoch keeps the checkpoint of it, and diverges again when it is resumed") {
  const TemporaryFolder folder;
  // The rate of the second epoch ruins the weights in its only step; the evaluation is the first to detect it.
  const Regime regime =
      regime_with({"epochs=2", "data.train_size=96", R"(noise={"type": "none"})",
                   R"(batch={"size": 96, "change": [{"epochs": 1, "size": 96, "learning_rate": 0.01}]})",
                   "optimizer.learning_rate=1e38", "schedule.type=constant"});
  const std::string expected = folder.path().string() + ": the test loss is not finite after step 2 (epoch 2)";
  CHECK(error_of(regime, folder.path()).starts_with(expected));
  const auto first = tensors_of(folder.path());
  const auto metrics = metrics_of(folder.path());
  CHECK(run_divergence(folder.path()).value().at("epoch") == 2);
  CHECK(error_of(regime, folder.path()).starts_with(expected));
  CHECK(tensors_of(folder.path()) == first);
  CHECK(metrics_of(folder.path()) == metrics);
}

TEST_CASE("checkpoints of every so many epochs are kept, and are what the run had then") {
  const TemporaryFolder folder;
  const Regime keeping = regime_with({"epochs=7", "checkpoint.keep_every_epochs=3", "checkpoint.every_epochs=5"});
  REQUIRE(run(keeping, folder / "a") == RunOutcome::finished);
  const std::vector<std::filesystem::path> kept = kept_checkpoints(folder / "a");
  REQUIRE(kept == std::vector{folder / "a/checkpoint-epoch-3.safetensors",
                              folder / "a/checkpoint-epoch-6.safetensors"});
  CHECK(kept_checkpoint(folder / "a", 6) == kept[1]);
  // A run that goes on from what was kept ends with the same bits.
  std::filesystem::create_directories(folder / "b");
  for (const char* file : {"config.json", "metrics.jsonl"})
    std::filesystem::copy(folder / "a" / file, folder / "b" / file);
  for (const auto& entry : std::filesystem::directory_iterator(folder / "a"))
    if (is_events_name(entry.path().filename().string()))
      std::filesystem::copy(entry.path(), folder / "b" / entry.path().filename());
  std::filesystem::copy(kept[0], folder / "b/checkpoint.safetensors");
  REQUIRE(run(keeping, folder / "b") == RunOutcome::finished);
  CHECK(tensors_of(folder / "b") == tensors_of(folder / "a"));
  CHECK(metrics_of(folder / "b") == metrics_of(folder / "a"));
  CHECK(kept_checkpoints(folder / "b").size() == 1);  // of epoch 6
  REQUIRE(run(regime_with({"epochs=2"}), folder / "c") == RunOutcome::finished);
  CHECK(kept_checkpoints(folder / "c").empty());
}

TEST_CASE("a foreign checkpoint is checked before anything is written") {
  const TemporaryFolder folder, outside;
  const Regime regime = regime_with({"epochs=2"});
  REQUIRE(run(regime, folder.path()) == RunOutcome::finished);
  std::filesystem::remove(folder / "summary.json");
  write_file_atomically(outside / "victim", "precious");
  const auto path = folder / "checkpoint.safetensors";
  const auto log = metrics_of(folder.path());
  const std::string whole = read_file(path);

  const auto message_with = [&](const std::function<void(Json&, std::map<std::string, std::vector<float>>&)>& change) {
    write_file_atomically(path, whole);
    std::map<std::string, std::vector<float>> values = tensors_of(folder.path());
    std::vector<StoredTensor> tensors;
    StoredMetadata metadata;
    {
      const SafetensorsFile file(path);
      metadata = file.metadata();
      Json state = parse_json(metadata.at("state"), "state");
      change(state, values);
      metadata["state"] = state.dump();
      for (const auto& entry : file.entries())
        tensors.push_back(stored_tensor<float>(entry.name, entry.shape, values.at(entry.name)));
      for (const auto& [name, held] : values)
        if (!file.contains(name)) tensors.push_back(stored_tensor<float>(name, {int64_t{1}}, held));
    }
    write_safetensors(path, tensors, metadata);
    CHECK_THROWS_AS(run(regime, folder.path()), UnusableRun);
    CHECK(metrics_of(folder.path()) == log);
    return error_of(regime, folder.path());
  };
  const auto state_with = [&](const char* key, const Json& value) {
    return message_with([&](Json& state, auto&) { state[key] = value; });
  };
  for (const Json& step : {Json(-1), Json(3.7), Json(1e15), Json(uint64_t{1} << 40)})
    CHECK(state_with("step", step)
              .starts_with(
                  fmt::format("{}: \"step\" is {}, expected a whole number from 0 to 14", path.string(), step.dump())));
  CHECK(state_with("step", 3).find("epoch_sums: \"samples\" is 0, expected 288") != std::string::npos);
  CHECK(state_with("test_loss", nullptr).find("\"test_loss\" is null, expected a number from 0 on") != std::string::npos);
  for (const std::string& name :
       {"../" + outside.path().filename().string() + "/victim", (outside / "victim").string()})
    CHECK(state_with("events_file", name).find("\"events_file\" is not the name") != std::string::npos);
  CHECK(state_with("metrics_bytes", 1 << 30).find("metrics.jsonl: it has ") != std::string::npos);
  for (const uint64_t bytes : {1, 12, 41})
    CHECK(state_with("events_bytes", bytes).find(fmt::format("byte {} is inside a record", bytes)) != std::string::npos);
  CHECK(state_with("steps", 3).find(path.string() + ": unknown key \"steps\"") != std::string::npos);
  CHECK(message_with([&](Json&, auto& values) { values["linear2.weight"] = {1}; })
            .starts_with(path.string() + ": tensor \"linear2.weight\" does not belong to this run"));
  const char* absent = "events.out.tfevents.1.absent.1";
  CHECK(state_with("events_file", absent).find("absent.1: No such file") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / absent));
  for (const std::string name : {"linear1.weight", "momentum.conv1.weight", "bn1.running_var", "fisher.bn1.bias"}) {
    INFO(name);
    const std::string error = message_with([&](Json&, auto& values) {
      if (values.contains(name))
        values.at(name).back() = std::nanf("");
      else
        values.at("linear1.bias")[0] = INFINITY;
    });
    CHECK(error.find("holds values that are not finite") != std::string::npos);
  }
  CHECK(read_file(outside / "victim") == "precious");
  write_file_atomically(path, whole);
  CHECK(run(regime, folder.path()) == RunOutcome::finished);
}

TEST_CASE("a checkpoint of another run is refused, whatever files are next to it; one that names no run is used") {
  const TemporaryFolder folder;
  const auto config = [&](const char* which) { return folder / which / "config.json"; };
  const auto checkpoint = [&](const char* which) { return folder / which / "checkpoint.safetensors"; };
  const Regime regime = regime_with({"epochs=1"}), other = regime_with({"epochs=1", "optimizer.momentum=0.5"});
  REQUIRE(run(regime, folder / "a") == RunOutcome::finished);
  REQUIRE(run(regime, folder / "seed", 8) == RunOutcome::finished);
  REQUIRE(run(other, folder / "regime") == RunOutcome::finished);
  const auto whole = tensors_of(folder / "a");
  // The whole run of `which`, with the configuration file of run "a".
  const auto with_files_of = [&](const char* which) {
    const std::string own = read_file(config("a"));
    std::filesystem::remove_all(folder / "mixed");
    std::filesystem::copy(folder / which, folder / "mixed");
    std::filesystem::remove(folder / "mixed/summary.json");
    write_file_atomically(config("mixed"), own);
    const auto before = tensors_of(folder / "mixed");
    const std::string error = error_of(regime, folder / "mixed");
    if (error != "no error was thrown") CHECK(tensors_of(folder / "mixed") == before);
    return error;
  };
  const std::string file = checkpoint("mixed").string(), advice = "; remove " + file + " to start the run again";
  CHECK(with_files_of("seed") == file + ": belongs to another run (seed: 8 there, 7 here)" + advice);
  CHECK(with_files_of("regime") ==
        file + ": belongs to another run ($.optimizer.momentum: 0.5 there, 0.9 here)" + advice);
  CHECK_THROWS_AS(run(regime, folder / "mixed"), UnusableRun);
  CHECK(with_files_of("a") == "no error was thrown");

  const auto with_identity = [&](const std::optional<Json>& identity) {
    std::vector<StoredTensor> tensors;
    const SafetensorsFile before(checkpoint("a"));
    StoredMetadata metadata = before.metadata();
    metadata.erase("identity");
    if (identity) metadata["identity"] = identity->dump();
    for (const auto& entry : before.entries())
      tensors.push_back(stored_tensor<float>(entry.name, entry.shape, whole.at(entry.name)));
    std::filesystem::remove(folder / "a/summary.json");
    write_safetensors(checkpoint("a"), tensors, metadata);
    return error_of(regime, folder / "a");
  };
  Json older = run_identity(regime, 7);
  REQUIRE(older.at("config").at("optimizer").erase("clip_norm") == 1);
  CHECK(with_identity(older) == "no error was thrown");  // a key that the older version lacked has its default
  CHECK(with_identity({}) == "no error was thrown");
  CHECK(with_identity(Json{{"seed", 7}}).find("checkpoint.safetensors: \"config\" is missing") != std::string::npos);
}

TEST_CASE("noise that fails on values that are not finite does not hide a loss that is not finite") {
  const TemporaryFolder folder;
  const Regime regime = regime_with({"optimizer.learning_rate=1e30", R"(noise={"type": "kfac", "small_batch": 16})"});
  CHECK(error_of(regime, folder.path()).find("the loss is not finite at step 3 ") != std::string::npos);
}

TEST_CASE("a run starts from the values of init, and from those of the seed for all other parameters") {
  const TemporaryFolder plain, changed;
  // A rate that moves no parameter by more than its rounding.
  const std::vector<std::string> still{"epochs=1", "optimizer.learning_rate=1e-30", "optimizer.momentum=0"};
  auto with_rules = still;
  with_rules.push_back(R"(init=[{"parameters": ["linear1.*"], "mean": 0.5}])");
  REQUIRE(run(regime_with(still), plain.path()) == RunOutcome::finished);
  REQUIRE(run(regime_with(with_rules), changed.path()) == RunOutcome::finished);
  const auto before = tensors_of(plain.path()), after = tensors_of(changed.path());
  for (const float value : after.at("linear1.weight")) REQUIRE(value == 0.5f);
  CHECK(after.at("conv1.weight") == before.at("conv1.weight"));
  CHECK(after.at("linear1.weight") != before.at("linear1.weight"));
  CHECK(error_of(regime_with({"epochs=1", R"(init=[{"parameters": ["linear9.*"]}])"}), TemporaryFolder().path())
            .find("init[0].parameters: \"linear9.*\" matches no parameter") != std::string::npos);
}

TEST_CASE("the summary and the checkpoint state what they were made with, and another build continues the run") {
  const TemporaryFolder folder;
  REQUIRE(run(regime_with({"epochs=1"}), folder.path()) == RunOutcome::finished);
  const Json made_with = run_summary(folder.path()).value().at("environment");
  CHECK(made_with.at("commit") == commit());
  CHECK(made_with.at("compiler") == compiler());
  for (const char* key : {"processor", "isa", "onednn", "openblas"}) CHECK(made_with.at(key) != "");
  const auto path = folder.path() / "checkpoint.safetensors";
  std::vector<StoredTensor> tensors;
  const SafetensorsFile file(path);
  StoredMetadata metadata = file.metadata();
  CHECK(metadata.at("version") == version());
  CHECK(Json::parse(metadata.at("environment")) == made_with);
  metadata["version"] = "0.0.9";
  metadata["environment"] = R"({"commit": "0123456789ab", "processor": "another"})";
  const auto values = tensors_of(folder.path());
  for (const auto& entry : file.entries())
    tensors.push_back(stored_tensor<float>(entry.name, entry.shape, values.at(entry.name)));
  write_safetensors(path, tensors, metadata);
  std::filesystem::remove(folder.path() / "summary.json");
  CHECK(run(regime_with({"epochs=1"}), folder.path()) == RunOutcome::finished);
  CHECK(run_summary(folder.path()).value().at("environment") == made_with);
}

TEST_CASE("held-out images are evaluated in place of the test images, and named in every file of the run") {
  const TemporaryFolder folder;
  REQUIRE(run(regime_with({"epochs=1", "data.holdout=88"}), folder.path()) == RunOutcome::finished);
  const Json summary = run_summary(folder.path()).value();
  CHECK(summary.at("training_images") == 512);
  CHECK(summary.at("holdout_images") == 88);
  CHECK(summary.at("holdout_accuracy").get<double>() >= 0);
  CHECK_FALSE(summary.contains("test_accuracy"));
  CHECK(metrics_of(folder.path()).back().at("split") == "holdout");

  // The same images as the last of a longer training set without held-out images.
  DataCache data;
  const auto whole = data.get(regime_with({})), cut = data.get(regime_with({"data.holdout=88"}));
  const auto first = static_cast<size_t>(512 * whole->sets.train.image_size());
  const std::vector<uint8_t>& all = whole->sets.train.images;
  CHECK(cut->sets.train.images == std::vector<uint8_t>(all.begin(), all.begin() + first));
  CHECK(cut->sets.test.images == std::vector<uint8_t>(all.begin() + first, all.end()));
  CHECK(cut->normalisation.mean == channel_statistics(cut->sets.train).mean);
}

TEST_CASE("the CPU computes in fp32 under every precision, and the summary says so") {
  const TemporaryFolder folder;
  const Regime regime = regime_with({"epochs=1", "precision=half"});
  REQUIRE(run(regime, folder.path()) == RunOutcome::finished);
  CHECK(parse_json(read_file(folder.path() / "summary.json"), "summary").at("precision") == "fp32");
  CHECK(parse_json(read_file(folder.path() / "config.json"), "config").at("config").at("precision") == "half");
}

TEST_CASE("a folder of another configuration or seed is refused and left as it is") {
  const TemporaryFolder folder;
  REQUIRE(run(regime_with({"epochs=1"}), folder.path()) == RunOutcome::finished);
  const auto before = tensors_of(folder.path());
  CHECK(error_of(regime_with({"epochs=2", "batch.micro=32"}), folder.path())
            .find("another configuration ($.batch.micro: null there, 32 here; $.epochs: 1 there, 2 "
                  "here); use another --output") != std::string::npos);
  CHECK(error_of(regime_with({"epochs=1"}), folder.path(), 8).find("(seed: 7 there, 8 here)") != std::string::npos);
  Regime renamed = regime_with({"epochs=1"});
  renamed.name = "B";
  CHECK(error_of(renamed, folder.path()).find("(regime: \"\" there, \"B\" here)") != std::string::npos);
  CHECK(tensors_of(folder.path()) == before);
}

TEST_CASE("a folder from a version without a key is continued if that key has its default, and refused otherwise") {
  const TemporaryFolder folder;
  REQUIRE(run(regime_with({"epochs=1"}), folder.path()) == RunOutcome::finished);
  const auto path = folder.path() / "config.json";
  Json older = parse_json(read_file(path), "config.json");
  REQUIRE(older.at("config").at("optimizer").erase("clip_norm") == 1);
  REQUIRE(older.at("config").at("data").erase("holdout") == 1);
  REQUIRE(older.at("config").erase("precision") == 1);
  write_file_atomically(path, older.dump(2));
  CHECK(run(regime_with({"epochs=1"}), folder.path()) == RunOutcome::finished);
  CHECK(error_of(regime_with({"epochs=1", "optimizer.clip_norm=2"}), folder.path())
            .find("($.optimizer.clip_norm: null there, 2") != std::string::npos);
  // A key that no version reads any more.
  older.at("config")["epoch"] = 1;
  write_file_atomically(path, older.dump(2));
  const std::string error = error_of(regime_with({"epochs=1"}), folder.path());
  CHECK(error.find("$.epoch: 1 there, absent here") != std::string::npos);
}
