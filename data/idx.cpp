#include <noisysgd/data/idx.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include <noisysgd/data/file.h>
#include <noisysgd/data/gzip.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

constexpr size_t kMagic = 4;  // bytes; the header has four more for each dimension

// Returns the number of dimensions.
size_t read_magic(std::span<const uint8_t> bytes, const std::string& name) {
  constexpr uint8_t kUnsignedByte = 0x08;
  NSGD_CHECK(bytes.size() >= kMagic, "{}: {} bytes are too few for the header of an IDX file", name, bytes.size());
  NSGD_CHECK(bytes[0] == 0 && bytes[1] == 0, "{}: is not an IDX file: it starts with {}, expected 00 00", name,
             fmt::format("{:02x} {:02x}", bytes[0], bytes[1]));
  NSGD_CHECK(bytes[2] == kUnsignedByte, "{}: IDX type {} is not supported, expected 0x08 (unsigned bytes)", name,
             fmt::format("{:#04x}", bytes[2]));
  const size_t dimensions = bytes[3];
  NSGD_CHECK(dimensions >= 1 && dimensions <= 4, "{}: {} dimensions, expected 1 (labels) to 4 (colour images)", name,
             dimensions);
  return dimensions;
}

std::vector<int64_t> read_shape(std::span<const uint8_t> header, size_t dimensions, const std::string& name) {
  const size_t needed = kMagic + 4 * dimensions;
  NSGD_CHECK(header.size() >= needed, "{}: truncated in the header: {} bytes, {} dimensions need {}", name,
             header.size(), dimensions, needed);
  std::vector<int64_t> shape;
  for (size_t d = 0; d < dimensions; ++d) {
    const uint8_t* at = header.data() + kMagic + 4 * d;
    const uint32_t size = uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | uint32_t{at[3]};
    NSGD_CHECK(size > 0, "{}: dimension {} is 0", name, d);
    shape.push_back(size);
  }
  return shape;
}

std::string text_of(const std::vector<int64_t>& shape) { return fmt::format("{}", fmt::join(shape, ", ")); }

uint64_t value_count(const std::vector<int64_t>& shape, const std::string& name) {
  int64_t count = 1;
  for (const int64_t size : shape)
    NSGD_CHECK(!__builtin_mul_overflow(count, size, &count),
               "{}: truncated: shape [{}] has more values than any file can hold", name, text_of(shape));
  return static_cast<uint64_t>(count);
}

}  // namespace

IdxArray parse_idx(std::span<const uint8_t> bytes, const std::string& name) {
  NSGD_CHECK(!bytes.empty(), "{}: the file is empty", name);
  std::optional<GzipReader> unpacked;
  if (is_gzip(bytes)) unpacked.emplace(bytes, name);
  // Returns the next `count` bytes, or fewer at the end of the data.
  const auto take = [&](uint64_t count) {
    std::vector<uint8_t> taken;
    if (unpacked) {
      unpacked->append(taken, count);
    } else {
      const auto part = bytes.first(static_cast<size_t>(std::min<uint64_t>(count, bytes.size())));
      taken.assign(part.begin(), part.end());
      bytes = bytes.subspan(part.size());
    }
    return taken;
  };
  std::vector<uint8_t> header = take(kMagic);
  const size_t dimensions = read_magic(header, name);
  const auto sizes = take(4 * dimensions);
  header.insert(header.end(), sizes.begin(), sizes.end());
  IdxArray array{name, read_shape(header, dimensions, name), {}};
  const uint64_t expected = value_count(array.shape, name);
  array.values = take(expected);
  NSGD_CHECK(array.values.size() == expected,
             "{}: truncated: shape [{}] needs {} bytes of values, the file has {}: {} bytes are missing", name,
             text_of(array.shape), expected, array.values.size(), expected - array.values.size());
  NSGD_CHECK(!unpacked || unpacked->at_end(), "{}: unexpected bytes after the {} values of shape [{}]", name, expected,
             text_of(array.shape));
  NSGD_CHECK(unpacked || bytes.empty(), "{}: {} unexpected bytes after the {} values of shape [{}]", name, bytes.size(),
             expected, text_of(array.shape));
  return array;
}

IdxArray read_idx(const std::filesystem::path& path) { return parse_idx(read_bytes(path), path.string()); }

IdxArray read_idx(std::span<const std::filesystem::path> copies) {
  std::string failures;
  for (const auto& copy : copies) {
    try {
      return read_idx(copy);
    } catch (const Error& error) {
      failures += (failures.empty() ? "" : "; ") + std::string(error.what());
    }
  }
  throw Error(failures);
}

Dataset idx_dataset(IdxArray pixels, const IdxArray& targets, int64_t classes) {
  NSGD_CHECK(pixels.shape.size() >= 3, "{}: {} dimensions, expected 3 (count, height, width) or 4 for images",
             pixels.name, pixels.shape.size());
  NSGD_CHECK(targets.shape.size() == 1, "{}: {} dimensions, expected 1 for labels", targets.name, targets.shape.size());
  NSGD_CHECK(pixels.shape[0] == targets.shape[0], "{} holds {} images, but {} holds {} labels", pixels.name,
             pixels.shape[0], targets.name, targets.shape[0]);
  if (classes == 0) classes = 1 + *std::max_element(targets.values.begin(), targets.values.end());
  for (size_t i = 0; i < targets.values.size(); ++i)
    NSGD_CHECK(targets.values[i] < classes, "{}: label {} of image {} is out of range, expected 0 to {}", targets.name,
               targets.values[i], i, classes - 1);
  Dataset dataset;
  dataset.name = std::filesystem::path(pixels.name).filename().string();
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

Dataset load_idx(const std::filesystem::path& images, const std::filesystem::path& labels, int64_t classes) {
  return idx_dataset(read_idx(images), read_idx(labels), classes);
}

}  // namespace noisysgd
