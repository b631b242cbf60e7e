#include <noisysgd/core/tensorboard.h>

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include <noisysgd/core/crc32c.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

// Field numbers of tensorflow/core/util/event.proto and framework/summary.proto.
constexpr int event_wall_time = 1, event_step = 2, event_file_version = 3, event_summary = 5;
constexpr int summary_value = 1, value_tag = 1, value_simple_value = 2;

constexpr std::string_view events_beginning = "events.out.tfevents.";

// Protobuf encodings of a field: the low three bits of its key.
enum class Wire { varint = 0, fixed64 = 1, length_delimited = 2, fixed32 = 5 };

template <class T>
void put_fixed(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void put_key(std::string& out, int field, Wire wire) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | static_cast<std::uint64_t>(wire));
}

void put_bytes(std::string& out, int field, std::string_view bytes) {
  put_key(out, field, Wire::length_delimited);
  put_varint(out, bytes.size());
  out.append(bytes);
}

std::string event_at(double wall_time, std::int64_t step) {
  std::string event;
  put_key(event, event_wall_time, Wire::fixed64);
  put_fixed(event, wall_time);
  put_key(event, event_step, Wire::varint);
  put_varint(event, static_cast<std::uint64_t>(step));
  return event;
}

std::string summary_of(std::span<const Scalar> scalars) {
  std::string summary;
  for (const Scalar& scalar : scalars) {
    std::string value;
    put_bytes(value, value_tag, scalar.tag);
    put_key(value, value_simple_value, Wire::fixed32);
    put_fixed(value, static_cast<float>(scalar.value));
    put_bytes(summary, summary_value, value);
  }
  return summary;
}

// A CRC over bytes that contain CRCs is weak, so records store it rotated and with an offset.
std::uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u; }

std::string record_of(std::string_view event) {
  std::string record;
  put_fixed(record, static_cast<std::uint64_t>(event.size()));
  put_fixed(record, masked_crc(record));
  record.append(event);
  put_fixed(record, masked_crc(event));
  return record;
}

// Called before the log is opened: a wrong `keep` must not change the file.
const std::filesystem::path& checked_to_end_a_record(const std::filesystem::path& path, std::uint64_t keep) {
  if (keep == 0) return path;
  const RandomAccessFile log(path);
  NSGD_CHECK(log.size() >= keep, "cannot continue {}: it has {} bytes, fewer than the {} to keep", path.string(),
             log.size(), keep);
  struct {
    std::uint64_t length;
    std::uint32_t crc;
  } frame;
  constexpr std::uint64_t frame_bytes = sizeof frame.length + sizeof frame.crc, around = frame_bytes + sizeof frame.crc;
  for (std::uint64_t begin = 0; begin < keep; begin += around + frame.length) {
    NSGD_CHECK(keep - begin >= around, "cannot continue {}: byte {} is inside a record", path.string(), keep);
    log.read(begin, std::as_writable_bytes(std::span(&frame, 1)).first(frame_bytes));
    NSGD_CHECK(frame.crc == masked_crc({reinterpret_cast<const char*>(&frame.length), sizeof frame.length}),
               "cannot continue {}: the record at byte {} is damaged", path.string(), begin);
    NSGD_CHECK(frame.length <= keep - begin - around, "cannot continue {}: byte {} is inside a record", path.string(),
               keep);
  }
  return path;
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

std::filesystem::path new_events_path(const std::filesystem::path& folder) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0 || host[0] == '\0') std::strcpy(host.data(), "localhost");
  return folder /
         fmt::format("{}{:010}.{}.{}", events_beginning, static_cast<std::int64_t>(now()), host.data(), ::getpid());
}

bool is_events_name(std::string_view name) {
  return name.starts_with(events_beginning) && name.find_first_of(std::string_view("/\0", 2)) == name.npos;
}

TensorBoardLog::TensorBoardLog(const std::filesystem::path& path, std::uint64_t keep) 
    : file_(checked_to_end_a_record(path, keep), keep) {
  if (keep > 0) return;
  std::string event = event_at(now(), 0);
  put_bytes(event, event_file_version, "brain.Event:2");
  file_.append(record_of(event));
}

void TensorBoardLog::write(std::int64_t step, std::span<const Scalar> scalars) { write(step, scalars, now()); }

void TensorBoardLog::write(std::int64_t step, std::span<const Scalar> scalars, double wall_time) {
  std::string event = event_at(wall_time, step);
  put_bytes(event, event_summary, summary_of(scalars));
  file_.append(record_of(event));
}

}  // namespace noisysgd
