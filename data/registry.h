// From a configured data set to its training and test images. Those of this library are
// in data/builtin.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <noisysgd/core/registry.h>
#include <noisysgd/data/dataset.h>

namespace noisysgd {

// Which images of a data set a run uses.
struct DatasetSelection {
  // The last so many training images (image folders: spread over the classes) are taken out and become the test images,
  // before the limits: settings can then be chosen without a look at the real ones, and without their files.
  int64_t holdout = 0;
  int64_t train_limit = 0;  // keep the first images only (image folders: spread over the classes); 0 keeps all
  int64_t test_limit = 0;
};

// Where the images come from. Every call gives the same ones.
class DatasetLoader {
 public:
  virtual ~DatasetLoader() = default;
  // All images. Their names are given by the caller; `class_names` may be empty where the numbers will do. Where images
  // are held out, the test images are not to be looked at and may be left out. Throws Error for files that are missing or
  // damaged.
  virtual DatasetPair load(const DatasetSelection& selection) const = 0;
  // True if `load` gives the selected images alone, so that it need not read the others.
  virtual bool selects() const { return false; }
};

using DatasetBuilder = std::function<std::unique_ptr<DatasetLoader>(const ConfigReader& json)>;

class DatasetRegistry : public Registry<DatasetBuilder> {
 public:
  DatasetRegistry() : Registry("a data set") {}
  static DatasetRegistry builtin();
};

// A configured data set. Copies share the loader.
class ConfiguredDataset {
 public:
  // Reads {"type": …, the type's own keys, "train_limit", "test_limit", "holdout"}.
  static ConfiguredDataset read(const ConfigReader& json, const DatasetRegistry& registry);

  const std::string& type() const { return type_; }
  const DatasetSelection& selection() const { return selection_; }
  // Throws Error, too, for images, sizes and labels that do not agree with each other.
  DatasetPair load() const;

 private:
  std::string type_;
  DatasetSelection selection_;
  std::shared_ptr<const DatasetLoader> loader_;
};

}  // namespace noisysgd
