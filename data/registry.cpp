#include <noisysgd/data/registry.h>

#include <fmt/format.h>

#include <algorithm>

namespace noisysgd {
namespace {

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

std::string sizes(const Dataset& dataset) {
  return fmt::format("{} classes of {}×{}×{} images (height × width × channels)", dataset.classes, dataset.height,
                     dataset.width, dataset.channels);
}

// Checks what other code relies on: a user's own loader may return anything.
void check(const Dataset& dataset) {
  const auto count = static_cast<size_t>(std::max<int64_t>(0, dataset.count));
  NSGD_CHECK(dataset.count > 0 && dataset.image_size() > 0 && dataset.classes > 0, "{}: {} images, {}", dataset.name,
             dataset.count, sizes(dataset));
  NSGD_CHECK(dataset.images.size() == count * static_cast<size_t>(dataset.image_size()) &&
                 dataset.labels.size() == count,
             "{}: {} images of {} values have {} values and {} labels", dataset.name, count, dataset.image_size(),
             dataset.images.size(), dataset.labels.size());
  for (size_t i = 0; i < count; ++i)
    NSGD_CHECK(dataset.labels[i] >= 0 && dataset.labels[i] < dataset.classes,
               "{}: label {} of image {} is out of range, expected 0 to {}", dataset.name, dataset.labels[i], i,
               dataset.classes - 1);
}

void check_alike(const Dataset& train, const Dataset& test) {
  NSGD_CHECK(sizes(train) == sizes(test), "{}: {}, but the training images are {}", test.name, sizes(test), sizes(train));
}

void name_classes(Dataset& dataset) {
  if (dataset.class_names.empty())
    for (int64_t k = 0; k < dataset.classes; ++k) dataset.class_names.push_back(std::to_string(k));
  NSGD_CHECK(static_cast<int64_t>(dataset.class_names.size()) == dataset.classes, "{}: {} names of {} classes",
             dataset.name, dataset.class_names.size(), dataset.classes);
}

}  // namespace

ConfiguredDataset ConfiguredDataset::read(const ConfigReader& json, const DatasetRegistry& registry) {
  ConfiguredDataset result;
  result.type_ = registry.read_type(json, "synthetic");
  result.loader_ = registry.at(result.type_)(json);
  const IntegerRule count{.default_value = 0, .at_least = 0};
  result.selection_.train_limit = json.integer("train_limit", count);
  result.selection_.test_limit = json.integer("test_limit", count);
  result.selection_.holdout = json.integer("holdout", count);
  return result;
}

DatasetPair ConfiguredDataset::load() const {
  DatasetPair pair = loader_->load(selection_);
  pair.train.name = type_ + " training images";
  pair.test.name = type_ + (selection_.holdout > 0 ? " held-out images" : " test images");
  check(pair.train);
  if (!loader_->selects()) {
    hold_out_last(pair, selection_.holdout);
    check(pair.test);  // before the limits shorten it
    keep_first(pair.train, selection_.train_limit, "train_limit");
    keep_first(pair.test, selection_.test_limit, "test_limit");
  }
  check(pair.test);
  check_alike(pair.train, pair.test);
  for (Dataset* set : {&pair.train, &pair.test}) name_classes(*set);
  return pair;
}

}  // namespace noisysgd
