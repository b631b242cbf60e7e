#include <noisysgd/data/cifar.h>

#include <sstream>

#include <noisysgd/data/file.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

constexpr int64_t kSide = 32, kPlane = kSide * kSide, kChannels = 3, kImage = kChannels * kPlane;

constexpr int64_t kAllImages = 60000;  // in both splits together: no file holds more

int64_t label_bytes_of(CifarVersion version) { return version == CifarVersion::cifar10 ? 1 : 2; }

}  // namespace

void append_cifar(Dataset& dataset, CifarVersion version, std::span<const uint8_t> bytes, const std::string& name) {
  const int64_t label_bytes = label_bytes_of(version), record = label_bytes + kImage;
  const auto size = static_cast<int64_t>(bytes.size());
  NSGD_CHECK(size % record == 0,
             "{}: {} bytes are no multiple of a record's {}: {} bytes are left over, {} more would make a record", name,
             size, record, size % record, record - size % record);
  const int64_t added = size / record, before = dataset.count;
  dataset.count += added;
  dataset.labels.resize(static_cast<size_t>(dataset.count));
  dataset.images.resize(static_cast<size_t>(dataset.count * kImage));
  for (int64_t i = 0; i < added; ++i) {
    const uint8_t label = bytes[static_cast<size_t>(i * record + label_bytes - 1)];
    NSGD_CHECK(label < dataset.classes, "{}: label {} of image {} is out of range, expected 0 to {}", name, label, i,
               dataset.classes - 1);
    dataset.labels[static_cast<size_t>(before + i)] = label;
  }
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < added; ++i) {
    const uint8_t* planes = bytes.data() + i * record + label_bytes;
    uint8_t* image = dataset.images.data() + (before + i) * kImage;
    for (int64_t pixel = 0; pixel < kPlane; ++pixel)
      for (int64_t c = 0; c < kChannels; ++c) image[pixel * kChannels + c] = planes[c * kPlane + pixel];
  }
}

Dataset empty_cifar(CifarVersion version) {
  Dataset dataset;
  dataset.name = version == CifarVersion::cifar10 ? "cifar10" : "cifar100";
  dataset.height = dataset.width = kSide;
  dataset.channels = kChannels;
  dataset.classes = version == CifarVersion::cifar10 ? 10 : 100;
  for (int64_t k = 0; k < dataset.classes; ++k) dataset.class_names.push_back(std::to_string(k));
  return dataset;
}

Dataset load_cifar(CifarVersion version, const std::vector<std::filesystem::path>& files) {
  NSGD_CHECK(!files.empty(), "load_cifar: no files given");
  Dataset dataset = empty_cifar(version);
  const auto limit = static_cast<uint64_t>(kAllImages * (label_bytes_of(version) + kImage));
  for (const auto& file : files) append_cifar(dataset, version, read_maybe_gzip(file, limit), file.string());
  return dataset;
}

std::vector<std::string> read_class_names(const std::filesystem::path& path, int64_t classes) {
  const auto bytes = read_bytes(path);
  std::istringstream text(std::string(bytes.begin(), bytes.end()));
  std::vector<std::string> names;
  for (std::string line; std::getline(text, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  NSGD_CHECK(static_cast<int64_t>(names.size()) == classes, "{}: {} class names, expected {}", path.string(),
             names.size(), classes);
  return names;
}

}  // namespace noisysgd
