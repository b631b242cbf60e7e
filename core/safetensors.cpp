#include <noisysgd/core/safetensors.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <optional>

#include <noisysgd/core/json.h>
#include <noisysgd/core/suggest.h>

namespace noisysgd {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data are little endian");

constexpr std::uint64_t largest_header = 100'000'000;  // the limit of the format
constexpr std::size_t length_bytes = 8;
constexpr std::size_t alignment = 8;
constexpr std::array all_types = {StoredType::f32, StoredType::f64, StoredType::i32, StoredType::i64, StoredType::u8};

// Bytes of a tensor, or none when they exceed 2^63 or a dimension is negative.
std::optional<std::uint64_t> bytes_of(StoredType type, const StoredShape& shape) {
  std::int64_t bytes = static_cast<std::int64_t>(size_of(type));
  for (const std::int64_t dimension : shape) {
    if (dimension < 0 || __builtin_mul_overflow(bytes, dimension, &bytes)) return std::nullopt;
  }
  return static_cast<std::uint64_t>(bytes);
}

std::string text_of(const StoredShape& shape) { return Json(shape).dump(); }

std::string header_of(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                      const StoredMetadata& metadata, std::span<const std::uint64_t> begins) {
  Json header = Json::object();
  auto& members = header.get_ref<Json::object_t&>();  // appends without a search: names are known to differ
  if (!metadata.empty()) members.emplace_back("__metadata__", metadata);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const StoredTensor& tensor = tensors[i];
    members.emplace_back(tensor.name, Json{{"dtype", name_of(tensor.type)},
                                           {"shape", tensor.shape},
                                           {"data_offsets", {begins[i], begins[i] + tensor.bytes.size()}}});
  }
  try {
    std::string text = header.dump();
    text.append((alignment - (length_bytes + text.size()) % alignment) % alignment, ' ');
    return text;
  } catch (const Json::exception& error) {
    throw Error(fmt::format("cannot write {}: a name or the metadata is not UTF-8 ({})", path.string(), error.what()));
  }
}

void check_tensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors) {
  std::unordered_map<std::string_view, int> names;
  for (const StoredTensor& tensor : tensors) {
    NSGD_CHECK(tensor.name != "__metadata__", "cannot write {}: \"__metadata__\" cannot name a tensor", path.string());
    NSGD_CHECK(++names[tensor.name] == 1, "cannot write {}: two tensors named \"{}\"", path.string(), tensor.name);
    NSGD_CHECK(bytes_of(tensor.type, tensor.shape) == tensor.bytes.size(),
               "cannot write {}: tensor \"{}\" of type {} and shape {} has {} bytes", path.string(), tensor.name,
               name_of(tensor.type), text_of(tensor.shape), tensor.bytes.size());
  }
}

std::uint64_t unsigned_in(const Json& json, std::string_view what) {
  NSGD_CHECK(json.is_number_unsigned(), "{} is {}, not a whole number from 0 on", what, json.dump());
  return json.get<std::uint64_t>();
}

const Json& member(const Json& description, const char* key) {
  const auto found = description.find(key);
  NSGD_CHECK(found != description.end(), "\"{}\" is missing", key);
  return *found;
}

SafetensorsHeader::Entry parse_entry(const std::string& name, const Json& description) {
  NSGD_CHECK(description.is_object(), "is described by {}, not by an object", description.type_name());
  for (const auto& [key, value] : description.items()) {
    NSGD_CHECK(key == "dtype" || key == "shape" || key == "data_offsets", "unknown key \"{}\"", key);
  }
  SafetensorsHeader::Entry entry{.name = name, .type = StoredType::u8, .shape = {}, .begin = 0, .bytes = 0};

  const Json& dtype = member(description, "dtype");
  const auto type = std::find_if(all_types.begin(), all_types.end(), [&](StoredType t) { return dtype == name_of(t); });
  NSGD_CHECK(type != all_types.end(), "type {} is not supported (F32, F64, I32, I64, U8 are)", dtype.dump());
  entry.type = *type;

  const Json& shape = member(description, "shape");
  NSGD_CHECK(shape.is_array(), "shape is {}, not a list", shape.type_name());
  for (const Json& dimension : shape) {
    const std::uint64_t size = unsigned_in(dimension, "a dimension");
    NSGD_CHECK(size <= std::uint64_t{INT64_MAX}, "dimension {} is too large", size);
    entry.shape.push_back(static_cast<std::int64_t>(size));
  }

  const Json& offsets = member(description, "data_offsets");
  NSGD_CHECK(offsets.is_array() && offsets.size() == 2, "data_offsets is not a list of two");
  entry.begin = unsigned_in(offsets[0], "data_offsets[0]");
  const std::uint64_t end = unsigned_in(offsets[1], "data_offsets[1]");
  NSGD_CHECK(entry.begin <= end, "data_offsets [{}, {}] run backwards", entry.begin, end);
  entry.bytes = end - entry.begin;
  NSGD_CHECK(bytes_of(entry.type, entry.shape) == entry.bytes, "type {} and shape {} do not make {} bytes",
             name_of(entry.type), text_of(entry.shape), entry.bytes);
  return entry;
}

StoredMetadata parse_metadata(const Json& json) {
  NSGD_CHECK(json.is_object(), "is {}, not an object", json.type_name());
  StoredMetadata metadata;
  for (const auto& [key, value] : json.items()) {
    NSGD_CHECK(value.is_string(), "\"{}\" is {}, not a text", key, value.type_name());
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

// The tensors must tile the data: no gap, no overlap, nothing left over.
void check_tiling(const std::vector<SafetensorsHeader::Entry>& entries, std::uint64_t data_bytes) {
  std::vector<const SafetensorsHeader::Entry*> by_place;
  by_place.reserve(entries.size());
  for (const auto& entry : entries) by_place.push_back(&entry);
  std::sort(by_place.begin(), by_place.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->bytes) < std::pair(b->begin, b->bytes);  // empty tensors first at one offset
  });
  std::uint64_t end = 0;
  for (const auto* entry : by_place) {
    NSGD_CHECK(entry->begin == end, "tensor \"{}\" begins at byte {} of the data, expected {}", entry->name,
               entry->begin, end);
    NSGD_CHECK(entry->bytes <= data_bytes - end, "tensor \"{}\" ends at byte {} of {} bytes of data", entry->name,
               entry->begin + entry->bytes, data_bytes);
    end += entry->bytes;
  }
  NSGD_CHECK(end == data_bytes, "the tensors fill {} of {} bytes of data", end, data_bytes);
}

}  // namespace

std::size_t size_of(StoredType type) {
  switch (type) {
    case StoredType::f64:
    case StoredType::i64:
      return 8;
    case StoredType::f32:
    case StoredType::i32:
      return 4;
    case StoredType::u8:
      return 1;
  }
  throw Error(fmt::format("no such stored type: {}", static_cast<int>(type)));
}

std::string_view name_of(StoredType type) {
  constexpr std::array names = {"F32", "F64", "I32", "I64", "U8"};
  return names.at(static_cast<std::size_t>(type));
}

void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                       const StoredMetadata& metadata) {
  check_tensors(path, tensors);
  std::vector<std::size_t> placed(tensors.size());
  std::iota(placed.begin(), placed.end(), std::size_t{0});
  std::stable_sort(placed.begin(), placed.end(),
                   [&](std::size_t a, std::size_t b) { return size_of(tensors[a].type) > size_of(tensors[b].type); });
  std::vector<std::uint64_t> begins(tensors.size());
  std::uint64_t end = 0;
  for (const std::size_t i : placed) {
    begins[i] = end;
    end += tensors[i].bytes.size();
  }

  const std::string header = header_of(path, tensors, metadata, begins);
  NSGD_CHECK(header.size() <= largest_header, "cannot write {}: a header of {} bytes is over the format's limit of {}",
             path.string(), header.size(), largest_header);
  const std::uint64_t header_bytes = header.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(header);
  for (const std::size_t i : placed) file.write(tensors[i].bytes);
  file.commit();
}

SafetensorsHeader read_safetensors_header(std::uint64_t file_bytes,
                                          const std::function<void(std::uint64_t, std::span<std::byte>)>& read) {
  NSGD_CHECK(file_bytes >= length_bytes, "{} bytes are too few for a safetensors file", file_bytes);
  std::uint64_t header_bytes = 0;
  read(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  const std::uint64_t remaining = file_bytes - length_bytes;
  NSGD_CHECK(
      header_bytes <= std::min(remaining, largest_header),
      "the header length is {} bytes, but {} bytes follow and {} are allowed: truncated, or not a safetensors file",
      header_bytes, remaining, largest_header);
  std::string text(static_cast<std::size_t>(header_bytes), '\0');
  read(length_bytes, std::as_writable_bytes(std::span(text)));
  NSGD_CHECK(text.starts_with('{'), "the header does not begin with '{{'");
  const Json json = parse_json(text, "header", {.bytes = largest_header, .keys = largest_header});

  SafetensorsHeader header;
  header.data_begin = length_bytes + header_bytes;
  for (const auto& [name, description] : json.items()) {
    const bool metadata = name == "__metadata__";
    try {
      if (metadata)
        header.metadata = parse_metadata(description);
      else
        header.entries.push_back(parse_entry(name, description));
    } catch (const Error& error) {
      const std::string place = metadata ? "__metadata__ " : fmt::format("tensor \"{}\": ", name);
      throw Error(place + error.what());
    }
  }
  check_tiling(header.entries, file_bytes - header.data_begin);
  return header;
}

SafetensorsHeader read_safetensors_header(std::span<const std::byte> file) {
  return read_safetensors_header(file.size(), [&](std::uint64_t offset, std::span<std::byte> destination) {
    std::memcpy(destination.data(), file.data() + offset, destination.size());
  });
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  try {
    header_ = read_safetensors_header(
        file_.size(), [&](std::uint64_t offset, std::span<std::byte> destination) { file_.read(offset, destination); });
  } catch (const Error& error) {
    throw Error(fmt::format("cannot read {}: {}", path.string(), error.what()));
  }
  for (std::size_t i = 0; i < header_.entries.size(); ++i) index_.emplace(header_.entries[i].name, i);
}

const SafetensorsFile::Entry& SafetensorsFile::entry(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  if (found != index_.end()) return header_.entries[found->second];
  std::vector<std::string> names;
  for (const Entry& entry : header_.entries) names.push_back(entry.name);
  const std::string nearest = nearest_name(name, names);
  throw Error(fmt::format("{} has no tensor \"{}\"{}", file_.path().string(), name,
                          nearest.empty() ? "" : fmt::format("; the nearest is \"{}\"", nearest)));
}

void SafetensorsFile::read(std::string_view name, StoredType type, const StoredShape& shape,
                           std::span<std::byte> destination) const {
  const Entry& found = entry(name);
  NSGD_CHECK(found.type == type && found.shape == shape,
             "{}: tensor \"{}\" has type {} and shape {}, expected {} and {}", file_.path().string(), name,
             name_of(found.type), text_of(found.shape), name_of(type), text_of(shape));
  NSGD_CHECK(destination.size() == found.bytes, "{}: tensor \"{}\" has {} bytes, the destination {}",
             file_.path().string(), name, found.bytes, destination.size());
  file_.read(header_.data_begin + found.begin, destination);
}

}  // namespace noisysgd
