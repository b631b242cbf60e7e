// The built-in types of data sets: mnist, fashion_mnist, cifar10, cifar100, image_folder, idx (any four IDX files),
// synthetic. If files are missing, one Error lists them, the folders that were searched, and the command that downloads
// them.
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include <noisysgd/core/suggest.h>
#include <noisysgd/data/cifar.h>
#include <noisysgd/data/file.h>
#include <noisysgd/data/idx.h>
#include <noisysgd/data/image_folder.h>
#include <noisysgd/data/registry.h>
#include <noisysgd/data/sources.h>
#include <noisysgd/data/synthetic.h>

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

// Finds all files of a data set before any is read, so one message can name all that are missing.
class FileFinder {
 public:
  // other_spellings: what the message adds about the spellings that find() tries after the first.
  FileFinder(std::string type, fs::path root, const std::vector<std::string>& folders, std::string other_spellings = "")
      : type_(std::move(type)), root_(std::move(root)), other_spellings_(std::move(other_spellings)) {
    for (const auto& folder : folders) places_.push_back(root_ / folder);
    places_.push_back(root_);
  }

  // Returns the copies of a file in the first folder that holds any, in the order of the spellings. If no folder does,
  // returns nothing and notes the file as missing. Some tools unpack NAME into a folder NAME, so subfolders with these
  // names are searched last.
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
    std::string text = fmt::format("{}: missing {}; looked in", type_, fmt::join(missing_, ", "));
    for (const auto& place : places_) text += fmt::format(" {}", place.string());
    text += other_spellings_;
    if (find_source(type_))
      text += fmt::format(". To download: noisysgd-data fetch {} --root {}", type_,
                          shell_quoted(root_.empty() ? "." : root_.string()));
    throw Error(text);
  }

 private:
  static bool is_file(const fs::path& path) {
    std::error_code error;
    return fs::is_regular_file(path, error);
  }

  std::string type_;
  fs::path root_;
  std::string other_spellings_;
  std::vector<fs::path> places_;
  std::vector<std::string> missing_;
};

// "root": the folder of the files, or the folder that contains the data set's own folder. "~/…" is below the home
// folder.
fs::path read_root(const ConfigReader& json) { return expand_home(json.string("root", "datasets")); }

class IdxFiles : public DatasetLoader {
 public:
  struct Options {
    std::string type;
    std::vector<std::string> folders = {};
    int64_t classes = 0;  // 0: one more than the largest training label
    std::vector<std::string> class_names = {};
  };
  IdxFiles(Options options, fs::path root) : options_(std::move(options)), root_(std::move(root)) {}

  static DatasetBuilder reader(Options options) {
    return [=](const ConfigReader& json) { return std::make_unique<IdxFiles>(options, read_root(json)); };
  }

  DatasetPair load(const DatasetSelection& selection) const override {
    FileFinder finder(options_.type, root_, options_.folders, " (also without .gz, and with a dot before idx)");
    const auto find = [&](const std::string& stem, const std::string& kind) {
      // Some copies write a dot before "idx".
      const std::string dash = stem + "-" + kind, dot = stem + "." + kind;
      return finder.find({dash + ".gz", dash, dot + ".gz", dot});
    };
    const auto train_images = find("train-images", "idx3-ubyte"), train_labels = find("train-labels", "idx1-ubyte");
    const bool with_test = selection.holdout == 0;
    std::vector<fs::path> test_images, test_labels;
    if (with_test) {
      test_images = find("t10k-images", "idx3-ubyte");
      test_labels = find("t10k-labels", "idx1-ubyte");
    }
    finder.throw_if_missing();
    DatasetPair pair;
    pair.train = idx_dataset(read_idx(train_images), read_idx(train_labels), options_.classes);
    if (with_test) {
      pair.test = idx_dataset(read_idx(test_images), read_idx(test_labels), pair.train.classes);
      NSGD_CHECK(pair.train.image_size() == pair.test.image_size() && pair.train.height == pair.test.height &&
                     pair.train.channels == pair.test.channels,
                 "{} holds images of {}×{}×{} (height × width × channels), but {} of {}×{}×{}",
                 train_images.front().string(), pair.train.height, pair.train.width, pair.train.channels,
                 test_images.front().string(), pair.test.height, pair.test.width, pair.test.channels);
    }
    if (!options_.class_names.empty()) pair.train.class_names = pair.test.class_names = options_.class_names;
    return pair;
  }

 private:
  Options options_;
  fs::path root_;
};

class CifarFiles : public DatasetLoader {
 public:
  CifarFiles(CifarVersion version, fs::path root) : version_(version), root_(std::move(root)) {}

  static DatasetBuilder reader(CifarVersion version) {
    return [=](const ConfigReader& json) { return std::make_unique<CifarFiles>(version, read_root(json)); };
  }

  DatasetPair load(const DatasetSelection& selection) const override {
    const bool ten = version_ == CifarVersion::cifar10, with_test = selection.holdout == 0;
    using Names = std::vector<std::string>;
    FileFinder finder(ten ? "cifar10" : "cifar100", root_,
                      ten ? Names{"cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10"}
                          : Names{"cifar-100-binary", "cifar100/cifar-100-binary", "cifar100"});
    std::vector<fs::path> train, test;
    if (ten) {
      for (int batch = 1; batch <= 5; ++batch)
        train.push_back(finder.find_one(fmt::format("data_batch_{}.bin", batch)));
    } else {
      train.push_back(finder.find_one("train.bin"));
    }
    if (with_test) test.push_back(finder.find_one(ten ? "test_batch.bin" : "test.bin"));
    finder.throw_if_missing();
    DatasetPair pair{load_cifar(version_, train), with_test ? load_cifar(version_, test) : Dataset()};
    const auto names = finder.find_optional(ten ? "batches.meta.txt" : "fine_label_names.txt");
    if (!names.empty()) pair.train.class_names = pair.test.class_names = read_class_names(names, pair.train.classes);
    return pair;
  }

 private:
  CifarVersion version_;
  fs::path root_;
};

class ImageFolder : public DatasetLoader {
 public:
  ImageFolder(const ImageFolderOptions& options, fs::path root) : options_(options), root_(std::move(root)) {}

  static std::unique_ptr<DatasetLoader> read(const ConfigReader& json) {
    constexpr int64_t most_pixels = 4096;  // per side: 48 MiB per colour image
    const IntegerRule side{.default_value = 0, .at_least = 0, .at_most = most_pixels};
    const fs::path root = read_root(json);
    ImageFolderOptions options;
    options.height = json.integer("height", side);
    options.width = json.integer("width", side);
    options.channels = json.integer("channels", {.default_value = 0, .at_least = 0, .at_most = 3});
    return std::make_unique<ImageFolder>(options, root);
  }

  DatasetPair load(const DatasetSelection& selection) const override {
    ImageFolderOptions options = options_;
    options.train_limit = selection.train_limit;
    options.test_limit = selection.test_limit;
    options.holdout = selection.holdout;
    return load_image_folder(root_, options);
  }
  bool selects() const override { return true; }  // load_image_folder decodes only the selected files

 private:
  ImageFolderOptions options_;
  fs::path root_;
};

class Synthetic : public DatasetLoader {
 public:
  explicit Synthetic(const SyntheticOptions& options) : options_(options) {}

  static std::unique_ptr<DatasetLoader> read(const ConfigReader& json) {
    constexpr int64_t most_images = 1'000'000;  // a few gigabytes of memory at most
    SyntheticOptions options;
    IntegerRule count{.default_value = options.train_count, .at_least = 1, .at_most = most_images};
    options.train_count = json.integer("train_size", count);
    count.default_value = options.test_count;
    options.test_count = json.integer("test_size", count);
    options.colour = json.boolean("colour", options.colour);
    const auto fraction = [&](const char* key, double default_value) {
      return json.number(key, {.default_value = default_value, .at_least = 0, .at_most = 1});
    };
    options.difficulty = fraction("difficulty", options.difficulty);
    options.label_noise = fraction("label_noise", options.label_noise);
    const IntegerRule seed{
        .default_value = static_cast<int64_t>(options.seed), .at_least = 0, .at_most = INT64_MAX};
    options.seed = static_cast<uint64_t>(json.integer("seed", seed));
    return std::make_unique<Synthetic>(options);
  }

  DatasetPair load(const DatasetSelection&) const override { return make_synthetic(options_); }

 private:
  SyntheticOptions options_;
};

}  // namespace

DatasetRegistry DatasetRegistry::builtin() {
  DatasetRegistry registry;
  registry.add("cifar10", CifarFiles::reader(CifarVersion::cifar10));
  registry.add("cifar100", CifarFiles::reader(CifarVersion::cifar100));
  registry.add("fashion_mnist", IdxFiles::reader({"fashion_mnist",
                                                  {"fashion-mnist", "fashion_mnist", "FashionMNIST/raw"},
                                                  10,
                                                  {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal",
                                                   "Shirt", "Sneaker", "Bag", "Ankle boot"}}));
  registry.add("idx", IdxFiles::reader({"idx"}));
  registry.add("image_folder", ImageFolder::read);
  registry.add("mnist", IdxFiles::reader({"mnist", {"mnist", "MNIST/raw"}, 10}));
  registry.add("synthetic", Synthetic::read);
  return registry;
}

}  // namespace noisysgd
