#include "data/idx.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "data/file.h"
#include "kernels/check.h"

namespace noisysgd {

IdxArray read_idx(const std::filesystem::path& path) {
  constexpr uint8_t kUnsignedByte = 0x08;
  const auto bytes = read_maybe_gzip(path);
  NSGD_CHECK(bytes.size() >= 4, "{}: {} bytes are too few for the header of an IDX file", path.string(), bytes.size());
  NSGD_CHECK(bytes[0] == 0 && bytes[1] == 0, "{}: is not an IDX file: it starts with {:02x} {:02x}, expected 00 00",
             path.string(), bytes[0], bytes[1]);
  NSGD_CHECK(bytes[2] == kUnsignedByte, "{}: IDX type 0x{:02x} is not supported, expected 0x08 (unsigned bytes)",
             path.string(), bytes[2]);
  const size_t dimensions = bytes[3], header = 4 + 4 * dimensions;
  NSGD_CHECK(dimensions >= 1 && dimensions <= 4, "{}: {} dimensions, expected 1 (labels) to 4 (colour images)",
             path.string(), dimensions);
  NSGD_CHECK(bytes.size() >= header, "{}: truncated in the header: {} bytes, {} dimensions need {}", path.string(),
             bytes.size(), dimensions, header);
  IdxArray array;
  uint64_t expected = 1;  // four factors below 2^32: checked after each, so it cannot overflow
  for (size_t d = 0; d < dimensions; ++d) {
    const uint8_t* at = bytes.data() + 4 + 4 * d;
    const uint32_t size = uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | uint32_t{at[3]};
    NSGD_CHECK(size > 0, "{}: dimension {} is 0", path.string(), d);
    array.shape.push_back(size);
    if (expected <= bytes.size()) expected *= size;
  }
  const uint64_t present = bytes.size() - header;
  NSGD_CHECK(present >= expected, "{}: truncated: shape [{}] needs {} bytes of values, the file has {}", path.string(),
             fmt::join(array.shape, ", "), expected, present);
  NSGD_CHECK(present == expected, "{}: {} unexpected bytes after the {} values of shape [{}]", path.string(),
             present - expected, expected, fmt::join(array.shape, ", "));
  array.values.assign(bytes.begin() + static_cast<int64_t>(header), bytes.end());
  return array;
}

Dataset load_idx(const std::filesystem::path& images, const std::filesystem::path& labels, int64_t classes) {
  auto pixels = read_idx(images);
  NSGD_CHECK(pixels.shape.size() >= 3, "{}: {} dimensions, expected 3 (count, height, width) or 4 for images",
             images.string(), pixels.shape.size());
  const auto targets = read_idx(labels);
  NSGD_CHECK(targets.shape.size() == 1, "{}: {} dimensions, expected 1 for labels", labels.string(),
             targets.shape.size());
  NSGD_CHECK(pixels.shape[0] == targets.shape[0], "{} holds {} images, but {} holds {} labels", images.string(),
             pixels.shape[0], labels.string(), targets.shape[0]);
  if (classes == 0) classes = 1 + *std::max_element(targets.values.begin(), targets.values.end());
  for (size_t i = 0; i < targets.values.size(); ++i)
    NSGD_CHECK(targets.values[i] < classes, "{}: label {} of image {} is out of range, expected 0 to {}",
               labels.string(), targets.values[i], i, classes - 1);
  Dataset dataset;
  dataset.name = images.filename().string();
  dataset.count = pixels.shape[0];
  dataset.height = pixels.shape[1];
  dataset.width = pixels.shape[2];
  dataset.channels = pixels.shape.size() == 4 ? pixels.shape[3] : 1;
  dataset.classes = classes;
  dataset.images = std::move(pixels.values);
  dataset.labels.assign(targets.values.begin(), targets.values.end());
  for (int64_t k = 0; k < classes; ++k) dataset.class_names.push_back(std::to_string(k));
  return dataset;
}

}  // namespace noisysgd
