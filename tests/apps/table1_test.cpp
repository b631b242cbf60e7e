// The configurations of the paper's Table 1: what they say, and that each trains.
#include <fstream>

#include "apps/trainer.h"
#include "tests/data/bytes.h"

using namespace noisysgd;
using namespace noisysgd::testing;

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

// Each file at a small budget, with every batch size divided by 16 and 32 images in the data sets' own formats: 4 ghost
// groups of 8 in one large batch, or 4 small batches of 8. Networks, noise and schedule are those of the files; the
// rate is one for batches of this size.
namespace {

constexpr int64_t shrink = 16, images = 32, epochs = 6;

// Images that are easy to tell apart: each of ten classes has a stripe of its own, on noise.
Bytes picture(int64_t height, int64_t width, int64_t channels, int64_t kind, uint32_t seed) {
  Bytes pixels = noise_bytes(static_cast<size_t>(height * width * channels), seed);
  for (uint8_t& pixel : pixels) pixel /= 4;
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = kind * width / 10; x < (kind + 1) * width / 10; ++x)
        pixels[static_cast<size_t>((c * height + y) * width + x)] += 150;
  return pixels;
}

void put_grey(const std::filesystem::path& folder) {
  for (const std::string split : {"train", "t10k"}) {
    Bytes pixels, labels;
    for (uint32_t i = 0; i < images; ++i) {
      labels.push_back(i % 10);
      append(pixels, picture(28, 28, 1, i % 10, i));
    }
    put(folder / (split + "-images-idx3-ubyte"), idx_bytes({images, 28, 28}, pixels));
    put(folder / (split + "-labels-idx1-ubyte"), idx_bytes({images}, labels));
  }
}

// label_bytes: 1 of CIFAR-10; 2 of CIFAR-100, whose ten classes here are 9, 19, …, 99.
void put_cifar(const std::filesystem::path& path, uint32_t label_bytes) {
  Bytes records;
  for (uint32_t i = 0; i < images; ++i) {
    if (label_bytes == 2) records.push_back(0);
    records.push_back(static_cast<uint8_t>(label_bytes == 2 ? 10 * (i % 10) + 9 : i % 10));
    append(records, picture(32, 32, 3, i % 10, i));
  }
  put(path, records);
}

void put_all_data_sets(const std::filesystem::path& root) {
  put_grey(root / "mnist");
  put_grey(root / "fashion-mnist");
  for (const std::string name :
       {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"})
    put_cifar(root / "cifar-10-batches-bin" / (name + ".bin"), 1);
  for (const std::string name : {"train", "test"}) put_cifar(root / "cifar-100-binary" / (name + ".bin"), 2);
}

void divide(Json& object, const char* key, int64_t divisor) {
  if (object.contains(key)) object[key] = object[key].get<int64_t>() / divisor;
}

Experiment scale_model_of(const Row& row, const std::filesystem::path& data_root) {
  const auto path = std::filesystem::path(NSGD_SOURCE_DIR) / "apps/configs/paper/table1" / (row.name + ".json");
  Json document = parse_config_file(path.string());
  document["data"].update({{"root", data_root.string()}, {"train_limit", images}, {"test_limit", 8}});
  document["budget"] = 0.03;  // 6 of 200 epochs
  document["logging"] = {{"every_steps", 1}};
  Json& regimes = document["regimes"];
  std::vector<Json*> places{&document};
  for (Json& regime : regimes) places.push_back(&regime);
  for (Json* place : places) {
    for (const char* key : {"size", "micro", "ghost_size"})
      if (place->contains("batch")) divide((*place)["batch"], key, shrink);
    if (place->contains("noise")) divide((*place)["noise"], "small_batch", shrink);
  }
  document["optimizer"]["learning_rate"] = 0.02;
  for (Json& regime : regimes)
    if (regime.contains("optimizer")) regime["optimizer"].erase("learning_rate");
  return read_experiment(document, row.name, {});
}

std::vector<Json> log_of(const std::filesystem::path& folder, const std::string& split) {
  std::ifstream file(folder / "metrics.jsonl");
  std::vector<Json> entries;
  for (std::string line; std::getline(file, line);) {
    entries.push_back(Json::parse(line));
    if (entries.back().at("split") != split) entries.pop_back();
  }
  return entries;
}

}  // namespace

TEST_CASE("every regime of every row of Table 1 trains, and its loss falls") {
  const TemporaryFolder folder;
  put_all_data_sets(folder / "data");
  Context context({}, 2);
  const Extensions extensions;
  for (const Row& row : rows) {
    const Experiment experiment = scale_model_of(row, folder / "data");
    DataCache cache;
    for (size_t i = 0; i < 3; ++i) {
      const Regime& regime = experiment.regimes[i];
      INFO(row.name << ", " << regime.name);
      const bool small = i == 0, noisy = i == 2;
      const std::filesystem::path run = folder / row.name / regime.name;
      REQUIRE(train(context, *cache.get(regime), {regime, extensions, 1, run, Progress::Mode::quiet}) ==
              RunOutcome::finished);
      const std::vector<Json> each_step = log_of(run, "train"), each_epoch = log_of(run, "test");
      REQUIRE(each_step.size() == static_cast<size_t>(epochs * (small ? 4 : 1)));
      REQUIRE(each_epoch.size() == static_cast<size_t>(epochs));
      for (size_t step = 0; step < each_step.size(); ++step)  // a quarter of six epochs of one step, rounded
        CHECK((each_step[step].at("noise_norm") > 0.0) == (noisy && step < 2));
      CHECK(each_epoch.back().at("train_loss") < each_epoch.front().at("train_loss"));
    }
  }
}
