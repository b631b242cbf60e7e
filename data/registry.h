// Loads the training and test images of a configured data set. The built-in types are in data/builtin.cpp.
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
  // This many of the last training images (image folders: spread over the classes) become the test images, before the
  // limits apply. Settings can then be chosen without the real test images, and without their files.
  int64_t holdout = 0;
  int64_t train_limit = 0;  // keep only this many first images (image folders: spread over the classes); 0 keeps all
  int64_t test_limit = 0;
};

// Loads the images of a data set. Every call returns the same images.
class DatasetLoader {
 public:
  virtual ~DatasetLoader() = default;
  // Returns all images. The caller sets the names of the two sets. `class_names` may be empty: the class numbers are
  // then used. If holdout > 0, the test images must not be read and may be left empty. Throws Error for missing or
  // damaged files.
  virtual DatasetPair load(const DatasetSelection& selection) const = 0;
  // True if `load` applies the selection itself and returns only the selected images, without reading the others.
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
  // Also throws Error if images, sizes and labels do not agree.
  DatasetPair load() const;

 private:
  std::string type_;
  DatasetSelection selection_;
  std::shared_ptr<const DatasetLoader> loader_;
};

}  // namespace noisysgd
