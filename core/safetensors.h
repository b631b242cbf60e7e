// The safetensors format: 8 bytes header length (little endian), JSON header, data. Reads and writes raw bytes with a
// type and a shape, independently of Tensor. Both directions stream: no second copy of the data is made. Every
// malformed, truncated or inconsistent file is an Error that names the file, the tensor and the values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include <noisysgd/core/file.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {

enum class StoredType : std::uint8_t { f32, f64, i32, i64, u8 };

std::size_t size_of(StoredType type);
std::string_view name_of(StoredType type);  // "F32", as in the header

template <class T>
constexpr StoredType stored_type_of() {
  if constexpr (std::is_same_v<T, float>) return StoredType::f32;
  if constexpr (std::is_same_v<T, double>) return StoredType::f64;
  if constexpr (std::is_same_v<T, std::int32_t>) return StoredType::i32;
  if constexpr (std::is_same_v<T, std::int64_t>) return StoredType::i64;
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, std::int32_t> ||
                    std::is_same_v<T, std::int64_t> || std::is_same_v<T, std::uint8_t>,
                "safetensors: float, double, int32_t, int64_t or uint8_t");
  return StoredType::u8;
}

using StoredShape = std::vector<std::int64_t>;
using StoredMetadata = std::map<std::string, std::string>;

// A tensor to write; the caller owns the bytes.
struct StoredTensor {
  std::string name;
  StoredType type;
  StoredShape shape;  // empty: a scalar
  std::span<const std::byte> bytes;
};

template <class T>
StoredTensor stored_tensor(std::string name, StoredShape shape, std::span<const T> values) {
  return {std::move(name), stored_type_of<T>(), std::move(shape), std::as_bytes(values)};
}

// Atomic (core/file.h). The header keeps the given order. The data are ordered by decreasing element size, which aligns
// each tensor to its element size.
void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                       const StoredMetadata& metadata = {});

// The header of a file, fully checked: sizes, offsets, types, names.
struct SafetensorsHeader {
  struct Entry {
    std::string name;
    StoredType type;
    StoredShape shape;
    std::uint64_t begin;  // within the data
    std::uint64_t bytes;
  };

  std::vector<Entry> entries;  // in the order of the file
  StoredMetadata metadata;
  std::uint64_t data_begin = 0;  // within the file
};

// Reads the header of a file of `file_bytes` bytes by calls of read(offset, destination), or of a file in memory.
// Throws Error that names the tensor and the values.
SafetensorsHeader read_safetensors_header(std::uint64_t file_bytes,
                                          const std::function<void(std::uint64_t, std::span<std::byte>)>& read);
SafetensorsHeader read_safetensors_header(std::span<const std::byte> file);

class SafetensorsFile {
 public:
  using Entry = SafetensorsHeader::Entry;

  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::vector<Entry>& entries() const { return header_.entries; }  // in the order of the header
  const StoredMetadata& metadata() const { return header_.metadata; }
  const std::filesystem::path& path() const { return file_.path(); }
  bool contains(std::string_view name) const { return index_.contains(std::string(name)); }
  const Entry& entry(std::string_view name) const;  // throws Error with the nearest name if there is none

  // The destination must have the tensor's type, shape and size.
  void read(std::string_view name, StoredType type, const StoredShape& shape, std::span<std::byte> destination) const;

  template <class T>
  std::vector<T> values(std::string_view name) const {
    const Entry& found = entry(name);
    std::vector<T> result(static_cast<std::size_t>(found.bytes / size_of(found.type)));
    read(name, stored_type_of<T>(), found.shape, std::as_writable_bytes(std::span(result)));
    return result;
  }

 private:
  RandomAccessFile file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string, std::size_t> index_;
};

}  // namespace noisysgd
