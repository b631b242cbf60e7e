// noisysgd-eval: agrees with what training logged, and says in one line what it cannot evaluate.
#include <noisysgd/apps/eval/evaluation.h>

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>

#include <noisysgd/apps/run_folder.h>
#include <noisysgd/core/file.h>
#include "tests/apps/change_metadata.h"
#include "tests/apps/command.h"
#include "tests/apps/small_runs.h"
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;
using noisysgd::test::small_runs::regime_with;

namespace {

Evaluation evaluate_at(const std::filesystem::path& source, const std::string& data = "",
                       const std::vector<std::string>& assignments = {}, std::optional<SavedWeights> weights = {}) {
  return evaluate_checkpoint({source, data, assignments, weights, "cpu", 2}, {});
}

CommandResult eval(const TemporaryFolder& folder, std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {"--threads", "2", "--device", "cpu"});
  return Command(NSGD_EVAL_PROGRAM, arguments, folder.path()).wait();
}

// The one line of a refused call.
std::string refused(const TemporaryFolder& folder, const std::vector<std::string>& arguments) {
  const CommandResult result = eval(folder, arguments);
  CHECK(result.status == 1);
  CHECK(result.output.empty());
  CHECK(std::ranges::count(result.error, '\n') == 1);
  return result.error;
}

}  // namespace

TEST_CASE("an evaluation gives the accuracy and the loss that training logged") {
  const TemporaryFolder folder;
  const auto [set, settings] = GENERATE(table<std::string, std::vector<std::string>>({
      {"test", {}},
      {"test", {"optimizer.weight_average=0.9", "evaluation.batch=7"}},
      {"holdout", {"data.holdout=100", R"(data.normalize={"mean": [0.3], "std": [0.4]})"}},
  }));
  std::vector<std::string> all = settings;
  all.push_back("epochs=2");
  REQUIRE(small_runs::run(regime_with(all), folder.path()) == RunOutcome::finished);
  const Json summary = run_summary(folder.path()).value();
  const Evaluation evaluation = evaluate_at(folder.path());
  const int64_t images = evaluation.scores.images();
  CHECK(images == summary.at(set + "_images"));
  CHECK(evaluation.set == set);
  CHECK(static_cast<double>(evaluation.scores.correct()) / static_cast<double>(images) ==
        summary.at(set + "_accuracy").get<double>());
  CHECK(evaluation.loss == summary.at(set + "_loss").get<double>());
  CHECK(evaluation.step == summary.at("steps"));
  CHECK(evaluation.seed == 7);
  int64_t predicted = 0;
  for (const Prediction& made : evaluation.scores.predictions()) predicted += made.label == made.predicted;
  CHECK(predicted == evaluation.scores.correct());
}

TEST_CASE("an evaluation uses the averaged weights, or the last ones if asked") {
  const TemporaryFolder folder;
  const std::vector<std::string> plain{"epochs=1"}, averaged{"epochs=1", "optimizer.weight_average=0.9"};
  REQUIRE(small_runs::run(regime_with(plain), folder / "plain") == RunOutcome::finished);
  REQUIRE(small_runs::run(regime_with(averaged), folder / "averaged") == RunOutcome::finished);
  const double last = evaluate_at(folder / "plain").loss;
  CHECK(evaluate_at(folder / "averaged").loss != last);
  CHECK(evaluate_at(folder / "averaged").weights == SavedWeights::average);
  CHECK(evaluate_at(folder / "averaged", "", {}, SavedWeights::last).loss == last);
  CHECK(error_of([&] { evaluate_at(folder / "plain", "", {}, SavedWeights::average); }) ==
        (folder / "plain/checkpoint.safetensors").string() +
            ": holds no average of the weights; optimizer.weight_average makes one");
}

TEST_CASE("another data set of the same shape is normalised as in training") {
  const TemporaryFolder folder;
  REQUIRE(small_runs::run(regime_with({"epochs=1"}), folder.path()) == RunOutcome::finished);
  const Evaluation own = evaluate_at(folder.path());
  // The same test images beside others to train on, whose mean and deviation differ.
  const std::string more = R"({"type": "synthetic", "train_size": 30, "test_size": 50})";
  CHECK(evaluate_at(folder.path(), more).loss == own.loss);
  CHECK(evaluate_at(folder.path(), "", {"data.train_size=30"}).loss == own.loss);
  CHECK(evaluate_at(folder.path(), "synthetic").scores.images() == 2000);
  CHECK(evaluate_at(folder.path(), "", {"data.difficulty=0", "$.data.test_size=40"}).scores.images() == 40);
  const std::string file = (folder / "checkpoint.safetensors").string();
  CHECK(error_of([&] { evaluate_at(folder.path(), "", {"data.colour=true"}); }) ==
        file + ": synthetic test images do not fit the network: images of [3,32,32], expected [1,28,28] (channels, "
               "height, width)");
  CHECK(error_of([&] { evaluate_at(folder.path(), "", {"optimizer.momentum=0"}); }) ==
        "--set optimizer.momentum=0: changes nothing in an evaluation; data, evaluation and precision can be set");
  CHECK(contains(error_of([&] { evaluate_at(folder.path(), "", {R"(data.normalize={"mean":[0],"std":[1]})"}); }),
                 "data.normalize: cannot be set"));
  CHECK(contains(error_of([&] { evaluate_at(folder.path(), "mnits"); }), "did you mean \"mnist\"?"));
}

TEST_CASE("a checkpoint of a version that did not describe its data is evaluated with the data of its run") {
  const TemporaryFolder folder;
  REQUIRE(small_runs::run(regime_with({"epochs=1"}), folder.path()) == RunOutcome::finished);
  const Evaluation own = evaluate_at(folder.path());
  change_metadata(folder / "checkpoint.safetensors", [](StoredMetadata& metadata) { metadata.erase("data"); });
  CHECK(evaluate_at(folder.path()).loss == own.loss);
  CHECK(evaluate_at(folder.path(), R"({"train_size": 30, "test_size": 50})").loss == own.loss);
  std::filesystem::remove(folder / "summary.json");
  CHECK(small_runs::run(regime_with({"epochs=1"}), folder.path()) == RunOutcome::finished);  // and resumed
}

TEST_CASE("noisysgd-eval says in one line what it cannot evaluate") {
  const TemporaryFolder folder;
  REQUIRE(small_runs::run(regime_with({"epochs=1"}), folder / "run") == RunOutcome::finished);
  const std::filesystem::path path = folder / "run/checkpoint.safetensors";
  const std::string whole = read_file(path), begin = "noisysgd-eval: run/checkpoint.safetensors: ";
  const auto changed = [&](const std::function<void(StoredMetadata&)>& change) {
    write_file_atomically(path, whole);
    change_metadata(path, change);
    return refused(folder, {"run"});
  };
  const auto with_config = [&](const std::string& assignment) {
    return changed([&](StoredMetadata& metadata) {
      Json identity = Json::parse(metadata.at("identity"));
      apply_override(identity["config"], assignment);
      metadata["identity"] = identity.dump();
    });
  };
  CHECK(refused(folder, {"absent"}) == "noisysgd-eval: cannot read absent: No such file or directory\n");
  std::filesystem::create_directories(folder / "empty");
  CHECK(refused(folder, {"empty"}) ==
        "noisysgd-eval: empty: holds no checkpoint.safetensors; expected a safetensors "
        "file, or the folder of a run\n");
  for (const char* run :
       {"suite/SB/seed-1", "suite/LB/seed-2", "suite/LB/seed-1", "suite/tuning/rung-1", "suite/a/b/c"}) {
    std::filesystem::create_directories(folder / run);
    std::filesystem::copy(path, folder / run);
  }
  std::filesystem::create_directories(folder / "suite/no/seed-1");
  CHECK(refused(folder, {"suite"}) ==
        "noisysgd-eval: suite: holds no checkpoint.safetensors; give the folder of one of its runs: suite/LB/seed-1, "
        "suite/LB/seed-2, suite/SB/seed-1\n");
  CHECK(contains(refused(folder, {"suite/SB"}), "give the folder of one of its runs: suite/SB/seed-1\n"));
  for (int seed = 3; seed < 8; ++seed)
    std::filesystem::copy(folder / "suite/SB/seed-1", folder / fmt::format("suite/SB/seed-{}", seed));
  CHECK(contains(refused(folder, {"suite"}),
                 "suite/SB/seed-1, suite/SB/seed-3, suite/SB/seed-4, suite/SB/seed-5 and 2 more\n"));
  CHECK(refused(folder, {"run", "--logits", "out.csv", "--predictions", "./out.csv"}) ==
        "noisysgd-eval: --logits and --predictions are one file, out.csv; expected two\n");
  CHECK(refused(folder, {"run", "--data", R"({"type": "mnist")"})
            .starts_with("noisysgd-eval: --data:1:17: syntax error"));
  CHECK(refused(folder, {"run", "--predictions", "no/out.csv"}) ==
        "noisysgd-eval: cannot write no/out.csv: No such file or directory\n");

  for (const size_t bytes : {size_t{0}, size_t{5}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    write_file_atomically(path, whole.substr(0, bytes));
    CHECK(refused(folder, {"run"}).starts_with("noisysgd-eval: cannot read run/checkpoint.safetensors: "));
  }
  CHECK(changed([](StoredMetadata& metadata) { metadata.clear(); }) ==
        begin +
            "does not say which network it holds; expected a checkpoint of noisysgd-train, or --config with the "
            "configuration of the network\n");
  CHECK(changed([](StoredMetadata& metadata) { metadata["identity"] = R"({"seed": 1})"; }) ==
        begin + "\"config\" is missing\n");
  CHECK(changed([](StoredMetadata& metadata) { metadata["data"] = "{}"; }) == begin + "data: \"image\" is missing\n");
  CHECK(changed([](StoredMetadata& metadata) { metadata["state"] = R"({"step": -1})"; }) ==
        begin + "\"step\" is -1, expected a whole number from 0 on\n");
  CHECK(contains(with_config(R"(model={"type": "mlp", "hidden": [8]})"),
                 "tensor \"linear1.weight\" has type F32 and shape [10,676], expected F32 and [8,784]"));
  CHECK(contains(with_config("model.layers[0].out_channels=5"),
                 "has type F32 and shape [4,1,3,3], expected F32 and [5,1,3,3]"));
  CHECK(contains(with_config("data.test_limit=1000"), "test_limit is 1000, expected 0 (all) to 50"));
}

TEST_CASE("noisysgd-eval prints text, Markdown or JSON, and writes predictions") {
  const TemporaryFolder folder;
  REQUIRE(small_runs::run(regime_with({"epochs=1"}), folder / "run") == RunOutcome::finished);
  const CommandResult text = eval(folder, {"run", "--predictions", "out.csv"});
  CHECK(text.status == 0);
  CHECK(contains(text.output, "seed 7, step 7, last weights: 50 synthetic test images\n"));
  const std::string csv = read_file(folder / "out.csv");
  CHECK(std::ranges::count(csv, '\n') == 51);
  CHECK(eval(folder, {"run", "--predictions", "out.csv"}).status == 0);  // replaces its own file, and no other
  const CommandResult refused = eval(folder, {"run", "--predictions", "run/checkpoint.safetensors"});
  CHECK(refused.status == 1);
  CHECK(contains(refused.error, "run/checkpoint.safetensors: is there and is not a file of predictions"));
  CHECK(contains(eval(folder, {"run", "--format", "markdown"}).output, "\n| accuracy "));
  const CommandResult json = eval(folder, {"run/checkpoint.safetensors", "--format", "json"});
  const Json parsed = parse_json(json.output, "output");
  CHECK(parsed.at("accuracy") == run_summary(folder / "run").value().at("test_accuracy"));
  CHECK(parsed.at("data") == "synthetic test images");
}

TEST_CASE("weights without metadata are evaluated by the configuration of their network") {
  const TemporaryFolder folder;
  const Regime regime = regime_with({"epochs=1"});
  REQUIRE(small_runs::run(regime, folder / "run") == RunOutcome::finished);
  std::filesystem::copy_file(folder / "run/checkpoint.safetensors", folder / "weights.safetensors");
  change_metadata(folder / "weights.safetensors", [](StoredMetadata& metadata) { metadata.clear(); });
  write_file_atomically(folder / "network.json", regime.effective.dump());
  const CommandResult result = eval(folder, {"weights.safetensors", "--config", "network.json", "--format", "json"});
  INFO(result.error);
  REQUIRE(result.status == 0);
  const Json found = parse_json(result.output, "output");
  CHECK(found.at("accuracy") == run_summary(folder / "run").value().at("test_accuracy"));
  CHECK(found.at("loss") == run_summary(folder / "run").value().at("test_loss"));
  CHECK(found.at("step").is_null());
  CHECK(eval(folder, {"weights.safetensors", "--config", "network.json"})
            .output.starts_with("weights.safetensors\n50 synthetic test images\n"));
  CHECK(contains(refused(folder, {"run", "--config", "network.json"}), "leave --config out"));
  Json two = regime.effective;
  two["regimes"] = Json::parse(R"([{"name": "A"}, {"name": "B", "batch": {"size": 3}}])");
  write_file_atomically(folder / "network.json", two.dump());
  CHECK(eval(folder, {"weights.safetensors", "--config", "network.json"}).status == 0);
  two["regimes"] = Json::parse(R"([{"name": "A"}, {"name": "B", "evaluation": {"batch": 3}}])");
  write_file_atomically(folder / "network.json", two.dump());
  CHECK(
      refused(folder, {"weights.safetensors", "--config", "network.json"}) ==
      "noisysgd-eval: --config network.json: regimes \"A\" and \"B\" differ in \"evaluation\"; expected one network\n");
}

TEST_CASE("logits are written for NumPy or as CSV, in the order of the images") {
  const TemporaryFolder folder;
  REQUIRE(small_runs::run(regime_with({"epochs=1"}), folder / "run") == RunOutcome::finished);
  REQUIRE(eval(folder, {"run", "--logits", "out.csv", "--predictions", "predictions.csv"}).status == 0);
  REQUIRE(eval(folder, {"run", "--logits", "out.npy"}).status == 0);
  REQUIRE(eval(folder, {"run", "--logits", "out.npy"}).status == 0);  // replaces its own
  const std::string npy = read_file(folder / "out.npy");
  REQUIRE(npy.substr(0, 8) == std::string("\x93NUMPY\x01\x00", 8));
  const size_t begin = 10 + static_cast<unsigned char>(npy[8]) + 256 * static_cast<unsigned char>(npy[9]);
  CHECK(begin % 64 == 0);
  CHECK(contains(npy.substr(0, begin), "{'descr': '<f4', 'fortran_order': False, 'shape': (50, 10), }"));
  REQUIRE(npy.size() == begin + 50 * 10 * sizeof(float));
  std::vector<float> logits(500);
  std::memcpy(logits.data(), npy.data() + begin, 500 * sizeof(float));

  std::istringstream csv(read_file(folder / "out.csv")), predictions(read_file(folder / "predictions.csv"));
  std::string line, made;
  std::getline(csv, line);
  std::getline(predictions, made);
  CHECK(line == "index,label,logit_0,logit_1,logit_2,logit_3,logit_4,logit_5,logit_6,logit_7,logit_8,logit_9");
  for (int64_t n = 0; n < 50; ++n) {
    REQUIRE(static_cast<bool>(std::getline(csv, line)));
    REQUIRE(static_cast<bool>(std::getline(predictions, made)));
    std::istringstream fields(line);
    std::string field;
    std::getline(fields, field, ',');
    CHECK(field == std::to_string(n));
    std::getline(fields, field, ',');
    const auto first = logits.begin() + n * 10;
    CHECK(made.starts_with(fmt::format("{},{},{},", n, field, std::max_element(first, first + 10) - first)));
    for (int64_t k = 0; std::getline(fields, field, ','); ++k) CHECK(std::stof(field) == first[k]);
  }
  CHECK(refused(folder, {"run", "--logits", "out.txt"}) ==
        "noisysgd-eval: --logits out.txt: expected a name that ends with .npy or .csv\n");
  std::filesystem::rename(folder / "predictions.csv", folder / "other.npy");
  CHECK(contains(refused(folder, {"run", "--logits", "other.npy"}), "other.npy: is there and is not a NumPy array"));
}
