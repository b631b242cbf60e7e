// The configurations of the paper's Table 1: what they say, and that each trains.
#include <fstream>

#include "apps/trainer.h"
#include "tests/catch.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using noisysgd::test::TemporaryFolder;

namespace {

struct Row {
  std::string name;
  double published[3];  // SB, LB, LB+Diag of Table 1
  double rates[3];      // of Appendix E.1; 0: it states none
};

const Row rows[] = {
    {"mnist_mlp", {98.10, 97.95, 98.10}, {}},
    {"mnist_lenet", {99.10, 98.88, 99.11}, {}},
    {"fashion_lenet", {91.15, 88.89, 90.79}, {}},
    {"cifar10_alexnet", {87.80, 86.42, 87.61}, {}},
    {"cifar100_alexnet", {59.21, 56.79, 59.10}, {}},
    {"cifar10_vgg16", {93.25, 91.81, 93.19}, {0, 1.6, 1.6}},
    {"cifar100_vgg16", {72.83, 69.45, 72.11}, {0, 1.6, 1.6}},
    {"cifar10_resnet44", {93.42, 91.93, 92.88}, {0, 3.2, 1.6}},
    {"cifar100_resnet44x2", {75.55, 73.13, 74.26}, {0, 3.2, 1.6}},
};

Experiment experiment_of(const Row& row, const std::vector<std::string>& assignments) {
  const auto path = std::filesystem::path(NSGD_SOURCE_DIR) / "apps/configs/paper/table1" / (row.name + ".json");
  return read_experiment_file(path.string(), assignments, {});
}

std::vector<double> losses_of_epochs(const std::filesystem::path& folder) {
  std::ifstream file(folder / "metrics.jsonl");
  std::vector<double> losses;
  for (std::string line; std::getline(file, line);) {
    const Json entry = Json::parse(line);
    if (entry.at("split") == "test") losses.push_back(entry.at("train_loss"));
  }
  return losses;
}

}  // namespace

TEST_CASE("the rows of Table 1 follow the protocol of Section 5 and Appendix E") {
  for (const Row& row : rows) {
    INFO(row.name);
    const Experiment experiment = experiment_of(row, {});
    CHECK(experiment.seeds == std::vector<uint64_t>{1, 2, 3});
    REQUIRE(experiment.regimes.size() == 3);
    const bool colour = row.name.starts_with("cifar");
    for (size_t i = 0; i < 3; ++i) {
      const Regime& regime = experiment.regimes[i];
      const bool small = i == 0, noisy = i == 2;
      CHECK(regime.name == std::vector<std::string>{"SB", "LB", "LB+Diag"}[i]);
      CHECK(regime.expected_accuracy == row.published[i]);
      if (row.rates[i] > 0) CHECK(regime.sgd.learning_rate == row.rates[i]);
      CHECK(regime.epochs == 200);
      CHECK(regime.sgd.momentum == 0.9);
      CHECK(regime.batch.size == (small ? 128 : 4096));
      if (colour) CHECK(regime.batch.ghost_size == 128);
      CHECK(regime.schedule.type == ScheduleType::step);
      CHECK(regime.schedule.milestones == std::vector<double>{100, 150});
      CHECK(regime.schedule.factor == 0.1);
      CHECK(regime.schedule.warmup_epochs == (small ? 0 : 10));
      CHECK(regime.noise.options().type == (noisy ? "diagonal_fisher" : "none"));
      if (noisy) CHECK(regime.noise.options().stop_fraction == 0.25);
      CHECK(regime.data.augment.flip == colour);
      CHECK(regime.data.augment.padding == (colour ? 4 : 0));
      CHECK(regime.batch_schedule(50000).total_steps() == 200 * (small ? 391 : 13));
    }
  }
}

// The protocol on a handful of images of this program's own, at a small budget and a rate for a batch of that size.
TEST_CASE("every row of Table 1 trains with noise, and its loss falls") {
  Context context({}, 1);
  for (const Row& row : rows) {
    INFO(row.name);
    const bool colour = row.name.starts_with("cifar");
    const std::string data = R"(data={"type": "synthetic", "train_size": 16, "test_size": 4, "colour": )";
    const Experiment experiment = experiment_of(
        row, {data + (colour ? "true}" : "false}"), "budget=0.03", "batch.size=16", "batch.ghost_size=8",
              "batch.micro=8", "regimes[2].optimizer.learning_rate=0.02", "regimes[2].noise.small_batch=8"});
    const Regime& regime = experiment.regimes.at(2);
    CHECK(regime.epochs == 6);
    const TemporaryFolder folder;
    DataCache cache;
    const Extensions extensions;
    REQUIRE(train(context, *cache.get(regime), {regime, extensions, 1, folder.path(), Progress::Mode::quiet}) ==
            RunOutcome::finished);
    const std::vector<double> losses = losses_of_epochs(folder.path());
    REQUIRE(losses.size() == 6);
    CHECK(losses.back() < 0.9 * losses.front());
  }
}
