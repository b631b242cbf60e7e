#include <noisysgd/data/registry.h>

#include <fmt/ranges.h>

#include <algorithm>

#include <noisysgd/core/suggest.h>
#include <noisysgd/data/cifar.h>
#include <noisysgd/data/file.h>
#include <noisysgd/data/idx.h>
#include <noisysgd/data/image_folder.h>
#include <noisysgd/data/sources.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

// Collects every file of a data set before any is read, so that one message can name all that are missing.
class FileFinder {
 public:
  // other_spellings: what is to be said of those that find() gets beside the first.
  FileFinder(const DatasetOptions& options, std::vector<std::string> folders, std::string other_spellings = "")
      : options_(options), other_spellings_(std::move(other_spellings)) {
    for (const auto& folder : folders) places_.push_back(options.root / folder);
    places_.push_back(options.root);
  }

  // The copies of a file in the first place that has one, in the order of the spellings; none (and remembered as
  // missing) otherwise. Some tools unpack NAME into a folder NAME: there it is looked for after all spellings.
  std::vector<fs::path> find(const std::vector<std::string>& spellings) {
    for (const auto& place : places_) {
      std::vector<fs::path> copies;
      const auto look_in = [&](const fs::path& folder) {
        for (const auto& spelling : spellings)
          if (is_file(folder / spelling)) copies.push_back(folder / spelling);
      };
      look_in(place);
      for (const auto& spelling : spellings) look_in(place / spelling);
      if (!copies.empty()) return copies;
    }
    missing_.push_back(spellings.front());
    return {};
  }

  fs::path find_one(const std::string& name) {
    const auto copies = find({name});
    return copies.empty() ? fs::path() : copies.front();
  }

  fs::path find_optional(const std::string& name) const {
    for (const auto& place : places_)
      if (is_file(place / name)) return place / name;
    return {};
  }

  void throw_if_missing() const {
    if (missing_.empty()) return;
    std::string text = fmt::format("{}: missing {}; looked in", options_.type, fmt::join(missing_, ", "));
    for (const auto& place : places_) text += fmt::format(" {}", place.string());
    text += other_spellings_;
    if (find_source(options_.type))
      text += fmt::format(". To download: noisysgd-data fetch {} --root {}", options_.type,
                          shell_quoted(options_.root.empty() ? "." : options_.root.string()));
    throw Error(text);
  }

 private:
  static bool is_file(const fs::path& path) {
    std::error_code error;
    return fs::is_regular_file(path, error);
  }

  const DatasetOptions& options_;
  std::string other_spellings_;
  std::vector<fs::path> places_;
  std::vector<std::string> missing_;
};

void keep_first(Dataset& dataset, int64_t limit, const char* key) {
  NSGD_CHECK(limit >= 0 && limit <= dataset.count, "{}: {} is {}, expected 0 (all) to {}", dataset.name, key, limit,
             dataset.count);
  if (limit == 0) return;
  dataset.count = limit;
  dataset.images.resize(static_cast<size_t>(limit * dataset.image_size()));
  dataset.images.shrink_to_fit();
  dataset.labels.resize(static_cast<size_t>(limit));
}

void hold_out_last(DatasetPair& pair, int64_t count) {
  Dataset& train = pair.train;
  NSGD_CHECK(count >= 0 && count < train.count, "{}: holdout is {}, expected 0 (none) to {}", train.name, count,
             train.count - 1);
  if (count == 0) return;
  train.count -= count;
  const int64_t first = train.count * train.image_size();
  pair.test = {.name = pair.test.name,
               .count = count,
               .height = train.height,
               .width = train.width,
               .channels = train.channels,
               .classes = train.classes,
               .images = {train.images.begin() + first, train.images.end()},
               .labels = {train.labels.begin() + train.count, train.labels.end()},
               .class_names = train.class_names};
  train.images.resize(static_cast<size_t>(first));
  train.labels.resize(static_cast<size_t>(train.count));
}

DatasetPair load_idx_pair(const DatasetOptions& options, std::vector<std::string> folders, int64_t classes,
                          const std::vector<std::string>& class_names) {
  FileFinder finder(options, std::move(folders), ", unpacked or with a dot before idx, too");
  const auto find = [&](const std::string& stem, const std::string& kind) {
    // Some copies write a dot before "idx".
    const std::string dash = stem + "-" + kind, dot = stem + "." + kind;
    return finder.find({dash + ".gz", dash, dot + ".gz", dot});
  };
  const auto train_images = find("train-images", "idx3-ubyte"), train_labels = find("train-labels", "idx1-ubyte");
  const bool with_test = options.holdout == 0;
  std::vector<fs::path> test_images, test_labels;
  if (with_test) {
    test_images = find("t10k-images", "idx3-ubyte");
    test_labels = find("t10k-labels", "idx1-ubyte");
  }
  finder.throw_if_missing();
  DatasetPair pair;
  pair.train = idx_dataset(read_idx(train_images), read_idx(train_labels), classes);
  if (with_test) {
    pair.test = idx_dataset(read_idx(test_images), read_idx(test_labels), pair.train.classes);
    NSGD_CHECK(pair.train.image_size() == pair.test.image_size() && pair.train.height == pair.test.height &&
                   pair.train.channels == pair.test.channels,
               "{} holds images of {}×{}×{} (height × width × channels), but {} of {}×{}×{}",
               train_images.front().string(), pair.train.height, pair.train.width, pair.train.channels,
               test_images.front().string(), pair.test.height, pair.test.width, pair.test.channels);
  }
  if (!class_names.empty()) pair.train.class_names = pair.test.class_names = class_names;
  return pair;
}

DatasetPair load_mnist(const DatasetOptions& options) { return load_idx_pair(options, {"mnist", "MNIST/raw"}, 10, {}); }

DatasetPair load_fashion_mnist(const DatasetOptions& options) {
  return load_idx_pair(
      options, {"fashion-mnist", "fashion_mnist", "FashionMNIST/raw"}, 10,
      {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"});
}

DatasetPair load_any_idx(const DatasetOptions& options) { return load_idx_pair(options, {}, 0, {}); }

DatasetPair load_cifar_pair(const DatasetOptions& options, CifarVersion version) {
  const bool ten = version == CifarVersion::cifar10;
  FileFinder finder(options,
                    ten ? std::vector<std::string>{"cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10"}
                        : std::vector<std::string>{"cifar-100-binary", "cifar100/cifar-100-binary", "cifar100"});
  const bool with_test = options.holdout == 0;
  std::vector<fs::path> train, test;
  if (ten) {
    for (int batch = 1; batch <= 5; ++batch) train.push_back(finder.find_one(fmt::format("data_batch_{}.bin", batch)));
  } else {
    train.push_back(finder.find_one("train.bin"));
  }
  if (with_test) test.push_back(finder.find_one(ten ? "test_batch.bin" : "test.bin"));
  finder.throw_if_missing();
  DatasetPair pair{load_cifar(version, train), with_test ? load_cifar(version, test) : Dataset()};
  const auto names = finder.find_optional(ten ? "batches.meta.txt" : "fine_label_names.txt");
  if (!names.empty()) pair.train.class_names = pair.test.class_names = read_class_names(names, pair.train.classes);
  return pair;
}

DatasetPair load_cifar10(const DatasetOptions& options) { return load_cifar_pair(options, CifarVersion::cifar10); }
DatasetPair load_cifar100(const DatasetOptions& options) { return load_cifar_pair(options, CifarVersion::cifar100); }

DatasetPair load_folder(const DatasetOptions& options) {
  return load_image_folder(options.root, {options.height, options.width, options.channels, options.train_limit,
                                          options.test_limit, options.holdout});
}

DatasetPair load_synthetic(const DatasetOptions& options) { return make_synthetic(options.synthetic); }

using Loader = DatasetPair (*)(const DatasetOptions&);

constexpr std::pair<const char*, Loader> kLoaders[]{
    {"cifar10", load_cifar10},     {"cifar100", load_cifar100},   {"fashion_mnist", load_fashion_mnist},
    {"idx", load_any_idx},         {"image_folder", load_folder}, {"mnist", load_mnist},
    {"synthetic", load_synthetic},
};

}  // namespace

std::vector<std::string> dataset_types() {
  std::vector<std::string> types;
  for (const auto& [type, loader] : kLoaders) types.emplace_back(type);
  return types;
}

DatasetPair load_dataset(const DatasetOptions& given) {
  DatasetOptions options = given;
  options.root = expand_home(given.root);
  for (const auto& [type, loader] : kLoaders) {
    if (options.type != type) continue;
    DatasetPair pair = loader(options);
    pair.train.name = options.type + " training images";
    pair.test.name = options.type + (options.holdout > 0 ? " held-out images" : " test images");
    if (options.type != "image_folder") {  // which has chosen while listing its files
      hold_out_last(pair, options.holdout);
      keep_first(pair.train, options.train_limit, "train_limit");
      keep_first(pair.test, options.test_limit, "test_limit");
    }
    return pair;
  }
  throw Error(
      fmt::format("unknown data set type \"{}\", expected one of {}", options.type, fmt::join(dataset_types(), ", ")));
}

}  // namespace noisysgd
