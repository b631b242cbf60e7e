#include <noisysgd/data/registry.h>

#include <cstdlib>

#include <noisysgd/core/json.h>

#include "tests/data/bytes.h"

using namespace noisysgd;
using namespace noisysgd::testing;
namespace fs = std::filesystem;

namespace {

void put_idx_set(const fs::path& folder, bool compressed, char separator = '-', uint8_t last_label = 9) {
  const auto write = [&](const std::string& stem, const std::string& kind, const Bytes& bytes) {
    const std::string name = stem + separator + kind;
    compressed ? put_gzip(folder / (name + ".gz"), bytes) : put(folder / name, bytes);
  };
  write("train-images", "idx3-ubyte", idx_bytes({3, 2, 2}, noise_bytes(12, 1)));
  write("train-labels", "idx1-ubyte", idx_bytes({3}, {0, 1, last_label}));
  write("t10k-images", "idx3-ubyte", idx_bytes({2, 2, 2}, noise_bytes(8, 2)));
  write("t10k-labels", "idx1-ubyte", idx_bytes({2}, {1, 0}));
}

Json options_for(const std::string& type, const fs::path& root) {
  return {{"type", type}, {"root", root.string()}};
}

ConfiguredDataset dataset_of(const Json& options, const DatasetRegistry& registry = DatasetRegistry::builtin()) {
  Config config(options, "test");
  const ConfiguredDataset dataset = ConfiguredDataset::read(config.root(), registry);
  config.finish();
  return dataset;
}

DatasetPair load_dataset(const Json& options) { return dataset_of(options).load(); }

}  // namespace

TEST_CASE("MNIST is found in the root or its own folder, plain or compressed, in both spellings") {
  for (const std::string place : {"", "mnist", "MNIST/raw"})
    for (const bool compressed : {false, true})
      for (const char separator : {'-', '.'}) {
        const TemporaryFolder folder;
        put_idx_set(folder / place, compressed, separator);
        const auto [train, test] = load_dataset(options_for("mnist", folder.path()));
        CHECK(train.images == noise_bytes(12, 1));
        CHECK(test.images == noise_bytes(8, 2));
        CHECK(train.classes == 10);
        CHECK(test.labels == std::vector<int32_t>{1, 0});
      }
}

TEST_CASE("a folder named like a file may be next to it or contain it") {
  for (const bool beside : {true, false}) {
    const TemporaryFolder folder;
    put_idx_set(folder.path(), false, beside ? '.' : '-');
    for (const std::string stem : {"train-images", "train-labels", "t10k-images", "t10k-labels"}) {
      const std::string kind = stem.ends_with("images") ? "idx3-ubyte" : "idx1-ubyte", name = stem + "-" + kind;
      if (beside) {
        fs::create_directories(folder / name);
        continue;
      }
      fs::rename(folder / name, folder / "file");
      fs::create_directories(folder / name);
      fs::rename(folder / "file", folder / (name + "/" + name));
    }
    CHECK(load_dataset(options_for("mnist", folder.path())).train.labels == std::vector<int32_t>{0, 1, 9});
  }
  const TemporaryFolder folder;
  put_idx_set(folder.path(), false);
  fs::remove(folder / "t10k-labels-idx1-ubyte");
  fs::create_directories(folder / "t10k-labels-idx1-ubyte");  // empty
  check_mentions(error_of([&] { load_dataset(options_for("idx", folder.path())); }),
                 {"missing t10k-labels-idx1-ubyte"});
}

TEST_CASE("a damaged compressed file next to a good plain one is ignored") {
  const TemporaryFolder folder;
  put_idx_set(folder.path(), false);
  put(folder / "train-labels-idx1-ubyte.gz", Bytes{0x1f, 0x8b, 8, 0, 1});
  CHECK(load_dataset(options_for("mnist", folder.path())).train.labels == std::vector<int32_t>{0, 1, 9});
  put(folder / "train-labels-idx1-ubyte", Bytes{1, 2, 3, 4});
  check_mentions(error_of([&] { load_dataset(options_for("mnist", folder.path())); }),
                 {"train-labels-idx1-ubyte.gz: the gzip data is truncated", "train-labels-idx1-ubyte: is not an IDX"});
}

TEST_CASE("test files are not read if images are held out") {
  const TemporaryFolder folder;
  put_idx_set(folder.path(), false);
  fs::remove(folder / "t10k-images-idx3-ubyte");
  put(folder / "t10k-labels-idx1-ubyte", std::string("broken"));
  for (const std::string type : {"idx", "mnist", "fashion_mnist"}) {
    auto options = options_for(type, folder.path());
    CHECK(error_of([&] { load_dataset(options); }) != "no error was thrown");
    options["holdout"] = 1;
    const auto [train, test] = load_dataset(options);
    CHECK(train.count == 2);
    CHECK(test.labels == std::vector<int32_t>{9});
    CHECK(test.class_names == train.class_names);
  }
  Bytes records = noise_bytes(2 * 3074);
  records[1] = 5, records[3074 + 1] = 6;
  put(folder / "train.bin", records);
  auto options = options_for("cifar100", folder.path());
  check_mentions(error_of([&] { load_dataset(options); }), {"missing test.bin"});
  options["holdout"] = 1;
  CHECK(load_dataset(options).test.labels == std::vector<int32_t>{6});
}

TEST_CASE("a tilde and blanks in the root") {
  const TemporaryFolder folder;
  put_idx_set(folder / "my data", false);
  const char* home = std::getenv("HOME");
  const std::string before = home ? home : "";
  ::setenv("HOME", folder.path().c_str(), 1);
  CHECK(load_dataset(options_for("idx", "~/my data")).train.count == 3);
  if (home) ::setenv("HOME", before.c_str(), 1);
  check_mentions(error_of([&] { load_dataset(options_for("cifar10", folder / "my data")); }),
                 {"noisysgd-data fetch cifar10 --root \"" + (folder / "my data").string() + "\""});
}

TEST_CASE("the data set's own folder is searched before the root") {
  const TemporaryFolder folder;
  put_idx_set(folder.path(), false);
  put_idx_set(folder / "fashion-mnist", false);
  put(folder / "fashion-mnist/train-labels-idx1-ubyte", idx_bytes({3}, {5, 6, 7}));
  const Dataset fashion = load_dataset(options_for("fashion_mnist", folder.path())).train;
  CHECK(fashion.labels == std::vector<int32_t>{5, 6, 7});
  CHECK(fashion.class_names.at(9) == "Ankle boot");
  CHECK(load_dataset(options_for("mnist", folder.path())).train.labels == std::vector<int32_t>{0, 1, 9});
}

TEST_CASE("any IDX files: classes come from the training labels, and test labels must be among them") {
  const TemporaryFolder folder;
  put_idx_set(folder.path(), false, '-', 30);
  CHECK(load_dataset(options_for("idx", folder.path())).test.classes == 31);
  put(folder / "t10k-labels-idx1-ubyte", idx_bytes({2}, {1, 31}));
  check_mentions(error_of([&] { load_dataset(options_for("idx", folder.path())); }), {"t10k-labels", "label 31"});
  put_idx_set(folder.path(), false, '-', 10);
  check_mentions(error_of([&] { load_dataset(options_for("mnist", folder.path())); }), {"train-labels", "label 10"});
}

TEST_CASE("training and test images must have one shape") {
  const TemporaryFolder folder;
  put_idx_set(folder.path(), false);
  put(folder / "t10k-images-idx3-ubyte", idx_bytes({2, 4, 1}, noise_bytes(8)));
  check_mentions(error_of([&] { load_dataset(options_for("mnist", folder.path())); }),
                 {"2×2×1", "4×1×1", "t10k-images"});
}

TEST_CASE("CIFAR with and without class names") {
  const TemporaryFolder folder;
  const auto record = [](Bytes label, uint32_t seed) {
    append(label, noise_bytes(3072, seed));
    return label;
  };
  for (uint8_t batch = 1; batch <= 5; ++batch)
    put(folder / ("cifar-10-batches-bin/data_batch_" + std::to_string(batch) + ".bin"), record({batch}, batch));
  put(folder / "cifar-10-batches-bin/test_batch.bin", record({7}, 9));
  const auto ten = options_for("cifar10", folder.path());
  CHECK(load_dataset(ten).train.labels == std::vector<int32_t>{1, 2, 3, 4, 5});
  CHECK(load_dataset(ten).test.class_names.at(3) == "3");
  put(folder / "cifar-10-batches-bin/batches.meta.txt", std::string("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n"));
  CHECK(load_dataset(ten).test.class_names.at(3) == "d");

  put(folder / "cifar100/train.bin", record({1, 98}, 1));
  put(folder / "cifar100/test.bin", record({1, 97}, 1));
  const auto [train, test] = load_dataset(options_for("cifar100", folder.path()));
  CHECK(train.labels == std::vector<int32_t>{98});
  CHECK(test.labels == std::vector<int32_t>{97});
  CHECK(train.classes == 100);
}

TEST_CASE("missing files are named all at once, with the places and the command") {
  const TemporaryFolder folder;
  put_idx_set(folder / "mnist", true);
  fs::remove(folder / "mnist/train-labels-idx1-ubyte.gz");
  fs::remove(folder / "mnist/t10k-images-idx3-ubyte.gz");
  const std::string message = error_of([&] { load_dataset(options_for("mnist", folder.path())); });
  check_mentions(message, {"train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", (folder / "mnist").string(),
                           "noisysgd-data fetch mnist --root \"" + folder.path().string() + "\""});
  CHECK(message.find("train-images") == std::string::npos);
  CHECK(message.find("t10k-images.idx3") == std::string::npos);  // one spelling is named
  check_mentions(message, {"(also without .gz, and with a dot before idx). To download"});
  check_mentions(error_of([&] { load_dataset(options_for("cifar10", folder.path())); }),
                 {"data_batch_1.bin", "data_batch_5.bin", "test_batch.bin", "cifar-10-batches-bin", "fetch cifar10"});
  const std::string idx = error_of([&] { load_dataset(options_for("idx", folder / "nowhere")); });
  check_mentions(idx, {"idx: missing train-images-idx3-ubyte.gz", (folder / "nowhere").string()});
  CHECK(idx.find("fetch") == std::string::npos);
}

TEST_CASE("limits keep the first images and cannot exceed what exists") {
  const TemporaryFolder folder;
  put_idx_set(folder.path(), false);
  auto options = options_for("mnist", folder.path());
  options["train_limit"] = 2;
  options["test_limit"] = 1;
  const auto [train, test] = load_dataset(options);
  const Bytes all = noise_bytes(12, 1);
  CHECK(train.count == 2);
  CHECK(train.images == Bytes(all.begin(), all.begin() + 8));
  CHECK(train.labels == std::vector<int32_t>{0, 1});
  CHECK(test.count == 1);
  options["train_limit"] = 4;
  check_mentions(error_of([&] { load_dataset(options); }), {"mnist training images", "train_limit is 4", "3"});
  options["train_limit"] = -1;
  check_mentions(error_of([&] { load_dataset(options); }), {"$.train_limit: must be at least 0, got -1"});
}

TEST_CASE("the last training images are held out as test images, before limits are applied") {
  const TemporaryFolder folder;
  put_idx_set(folder.path(), false);
  auto options = options_for("mnist", folder.path());
  options["holdout"] = 2;
  const Bytes all = noise_bytes(12, 1);
  {
    const auto [train, test] = load_dataset(options);
    CHECK(train.count == 1);
    CHECK(train.images == Bytes(all.begin(), all.begin() + 4));
    CHECK(train.labels == std::vector<int32_t>{0});
    CHECK(test.count == 2);
    CHECK(test.images == Bytes(all.begin() + 4, all.end()));
    CHECK(test.labels == std::vector<int32_t>{1, 9});
    CHECK(test.classes == 10);
    CHECK(test.name == "mnist held-out images");
  }
  options["train_limit"] = options["test_limit"] = 1;
  const auto [train, test] = load_dataset(options);
  CHECK(train.labels == std::vector<int32_t>{0});
  CHECK(test.labels == std::vector<int32_t>{1});
  options["train_limit"] = 2;
  check_mentions(error_of([&] { load_dataset(options); }), {"train_limit is 2", "0 (all) to 1"});
  options["holdout"] = 3;
  check_mentions(error_of([&] { load_dataset(options); }), {"mnist training images", "holdout is 3", "0 (none) to 2"});
}

TEST_CASE("synthetic data need no files; unknown types are refused with the known ones") {
  const auto [train, test] = load_dataset({{"train_size", 20}, {"test_size", 10}, {"train_limit", 15}});
  CHECK(train.count == 15);
  CHECK(test.count == 10);
  check_mentions(error_of([&] { load_dataset({{"type", "mnits"}}); }),
                 {"$.type", "cifar10", "synthetic", "did you mean \"mnist\"?"});
  CHECK(DatasetRegistry::builtin().types().size() == 7);
}

namespace {

// Four training images of one pixel, 0 to 3, of alternating classes, and one test image; tests may change them.
class FourPixels : public DatasetLoader {
 public:
  explicit FourPixels(std::function<void(DatasetPair&)> change) : change_(std::move(change)) {}
  DatasetPair load(const DatasetSelection&) const override {
    DatasetPair pair;
    pair.train = {
        .count = 4, .height = 1, .width = 1, .channels = 1, .classes = 2, .images = {0, 1, 2, 3}, .labels = {0, 1, 0, 1}};
    pair.test = {.count = 1, .height = 1, .width = 1, .channels = 1, .classes = 2, .images = {9}, .labels = {1}};
    change_(pair);
    return pair;
  }

 private:
  std::function<void(DatasetPair&)> change_;
};

DatasetPair load_own(Json options, const std::function<void(DatasetPair&)>& change = [](DatasetPair&) {}) {
  DatasetRegistry registry = DatasetRegistry::builtin();
  registry.add("own", [=](const ConfigReader&) { return std::make_unique<FourPixels>(change); });
  options["type"] = "own";
  return dataset_of(options, registry).load();
}

}  // namespace

TEST_CASE("a user-defined data set has names, limits and held-out images") {
  const auto [train, test] = load_own(Json::object());
  CHECK(train.name == "own training images");
  CHECK(train.class_names == std::vector<std::string>{"0", "1"});
  CHECK(test.images == Bytes{9});
  const auto [fewer, held_out] =
      load_own({{"holdout", 2}, {"train_limit", 1}}, [](DatasetPair& pair) { pair.test = Dataset(); });
  CHECK(fewer.images == Bytes{0});
  CHECK(held_out.images == Bytes{2, 3});
  CHECK(held_out.name == "own held-out images");
}

TEST_CASE("a user-defined data set that contradicts itself is refused") {
  const auto error = [](const std::function<void(DatasetPair&)>& change) {
    return error_of([&] { load_own(Json::object(), change); });
  };
  CHECK(error([](DatasetPair& pair) { pair.train.images.pop_back(); }) ==
        "own training images: 4 images of 1 values have 3 values and 4 labels");
  CHECK(error([](DatasetPair& pair) { pair.test.labels.push_back(0); }) ==
        "own test images: 1 images of 1 values have 1 values and 2 labels");
  CHECK(error([](DatasetPair& pair) { pair.train.labels[2] = 2; }) ==
        "own training images: label 2 of image 2 is out of range, expected 0 to 1");
  CHECK(error([](DatasetPair& pair) { pair.test = Dataset(); }) ==
        "own test images: 0 images, 0 classes of 0×0×0 images (height × width × channels)");
  CHECK(error([](DatasetPair& pair) { pair.test.classes = 3; }) ==
        "own test images: 3 classes of 1×1×1 images (height × width × channels), but the training images are "
        "2 classes of 1×1×1 images (height × width × channels)");
  CHECK(error([](DatasetPair& pair) { pair.train.class_names = {"a"}; }) == "own training images: 1 names of 2 classes");
}
