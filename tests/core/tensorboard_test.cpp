#include <noisysgd/core/tensorboard.h>

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include <noisysgd/core/crc32c.h>
#include <noisysgd/kernels/check.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/hostile_disk.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// CRC-32C by polynomial division bit by bit, most significant bit first, from the definition in RFC 3720.
std::uint32_t reference_crc32c(const std::string& bytes) {
  const auto reflected = [](std::uint32_t value, int bits) {
    std::uint32_t result = 0;
    for (int i = 0; i < bits; ++i) result |= (value >> i & 1u) << (bits - 1 - i);
    return result;
  };
  std::uint32_t remainder = 0xFFFFFFFFu;
  for (const char byte : bytes) {
    remainder ^= reflected(static_cast<unsigned char>(byte), 8) << 24;
    for (int bit = 0; bit < 8; ++bit) remainder = (remainder << 1) ^ (remainder >> 31 != 0 ? 0x1EDC6F41u : 0u);
  }
  return ~reflected(remainder, 32);
}

std::uint32_t reference_mask(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

struct Event {
  double wall_time = -1;
  std::int64_t step = -1;
  std::string file_version;
  std::vector<std::pair<std::string, float>> values;
};

// An independent decoder, which fails on anything unexpected.
class Decoder {
 public:
  explicit Decoder(std::string bytes) : bytes_(std::move(bytes)) {}
  bool done() const { return at_ == bytes_.size(); }

  std::string take(std::size_t count) {
    if (bytes_.size() - at_ < count) throw std::runtime_error("truncated");
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }
  template <class T>
  T fixed() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    throw std::runtime_error("endless varint");
  }
  std::string delimited() { return take(varint()); }

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};

void check_key(bool good) {
  if (!good) throw std::runtime_error("unexpected field");
}

std::pair<std::string, float> decode_value(Decoder value) {
  check_key(value.varint() == (1 << 3 | 2));
  const std::string tag = value.delimited();
  check_key(value.varint() == (2 << 3 | 5));
  const auto number = value.fixed<float>();
  check_key(value.done());
  return {tag, number};
}

Event decode_event(Decoder bytes) {
  Event event;
  while (!bytes.done()) {
    switch (bytes.varint()) {
      case 1 << 3 | 1:
        event.wall_time = bytes.fixed<double>();
        break;
      case 2 << 3 | 0:
        event.step = static_cast<std::int64_t>(bytes.varint());
        break;
      case 3 << 3 | 2:
        event.file_version = bytes.delimited();
        break;
      case 5 << 3 | 2: {
        Decoder summary(bytes.delimited());
        while (!summary.done()) {
          check_key(summary.varint() == (1 << 3 | 2));
          event.values.push_back(decode_value(Decoder(summary.delimited())));
        }
        break;
      }
      default:
        throw std::runtime_error("unexpected field");
    }
  }
  return event;
}

std::vector<Event> decode_file(const std::filesystem::path& path) {
  std::vector<Event> events;
  Decoder file(read_file(path));
  while (!file.done()) {
    const std::string length = file.take(8);
    if (file.fixed<std::uint32_t>() != reference_mask(reference_crc32c(length))) throw std::runtime_error("length CRC");
    const std::string bytes = file.take(Decoder(length).fixed<std::uint64_t>());
    if (file.fixed<std::uint32_t>() != reference_mask(reference_crc32c(bytes))) throw std::runtime_error("data CRC");
    events.push_back(decode_event(Decoder(bytes)));
  }
  return events;
}

using Scalars = std::vector<Scalar>;

}  // namespace

TEST_CASE("CRC-32C gives the values of RFC 3720, appendix B.4") {
  CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AAu);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62A8AB43u);
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) {
    rising += static_cast<char>(i);
    falling += static_cast<char>(31 - i);
  }
  CHECK(crc32c(rising) == 0x46DD794Eu);
  CHECK(crc32c(falling) == 0x113FDB5Cu);
  CHECK(crc32c("123456789") == 0xE3069283u);
  CHECK(crc32c("") == 0u);
  CHECK(reference_crc32c("123456789") == 0xE3069283u);
}

TEST_CASE("written events decode to the same events") {
  const TemporaryFolder folder;
  const std::filesystem::path path = new_events_path(folder.path());
  CHECK(path.parent_path() == folder.path());
  CHECK(path.filename().string().rfind("events.out.tfevents.", 0) == 0);
  TensorBoardLog log(path);
  const float inf = std::numeric_limits<float>::infinity();
  log.write(0, Scalars{{"train/loss", 2.302585}}, 1700000000.25);
  log.write(300, Scalars{{"a", -1}, {std::string(300, 'b'), 1e300}, {"ü", std::nan("")}}, 1700000001.5);
  log.write(std::numeric_limits<std::int64_t>::max(), Scalars{}, 2);
  log.write(7, Scalars{{"now", 0}});
  log.sync();
  CHECK(log.size() == std::filesystem::file_size(path));

  const auto events = decode_file(path);
  REQUIRE(events.size() == 5);
  CHECK(events[0].file_version == "brain.Event:2");
  CHECK(events[0].values.empty());
  CHECK(events[1].step == 0);
  CHECK(events[1].wall_time == 1700000000.25);
  CHECK(events[1].values == std::vector<std::pair<std::string, float>>{{"train/loss", 2.302585f}});
  CHECK(events[2].step == 300);
  REQUIRE(events[2].values.size() == 3);
  CHECK(events[2].values[0] == std::pair<std::string, float>("a", -1.0f));
  CHECK(events[2].values[1] == std::pair<std::string, float>(std::string(300, 'b'), inf));
  CHECK(events[2].values[2].first == "ü");
  CHECK(std::isnan(events[2].values[2].second));
  CHECK(events[3].step == std::numeric_limits<std::int64_t>::max());
  CHECK(events[3].values.empty());
  CHECK(events[4].wall_time >= events[0].wall_time);
  CHECK(events[0].wall_time > 1.6e9);
}

TEST_CASE("a resumed events file holds each step once") {
  const TemporaryFolder folder;
  std::uint64_t at_checkpoint = 0;
  {
    TensorBoardLog log(folder / "events.out.tfevents.1");
    log.write(1, Scalars{{"x", 1}});
    at_checkpoint = log.size();
    log.write(2, Scalars{{"x", 2}});
  }
  {
    TensorBoardLog log(folder / "events.out.tfevents.1", at_checkpoint);
    log.write(2, Scalars{{"x", 20}});
  }
  const auto events = decode_file(folder / "events.out.tfevents.1");
  REQUIRE(events.size() == 3);
  CHECK(events[1].values[0].second == 1);
  CHECK(events[2].step == 2);
  CHECK(events[2].values[0].second == 20);
}

TEST_CASE("an event that does not fit is an error and leaves whole records only") {
  const TemporaryFolder folder;
  TensorBoardLog log(folder / "e");
  std::string message;
  {
    const FileSizeLimit limit(log.size() + 20);
    message = error_of([&] { log.write(1, Scalars{{"x", 1}}); });
  }
  CHECK(message == "cannot write " + (folder / "e").string() + ": File too large");
  CHECK(decode_file(folder / "e").size() == 1);
  CHECK_THROWS_AS(TensorBoardLog(folder / "no/e"), Error);
}

TEST_CASE("an events file is continued only after a whole record, and otherwise left unchanged") {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder / "events.out.tfevents.1";
  std::set<std::uint64_t> ends;
  {
    TensorBoardLog log(path);
    for (int step = 1; step < 3; ++step) {
      ends.insert(log.size());
      log.write(step, Scalars{{"x", 1}});
    }
    ends.insert(log.size());
  }
  const std::string whole = read_file(path);
  for (std::uint64_t keep = 1; keep <= whole.size(); ++keep) {
    INFO(keep);
    const std::string error = error_of([&] { TensorBoardLog(path, keep); });
    if (ends.contains(keep)) {
      CHECK(error == "no error was thrown");
      CHECK(read_file(path) == whole.substr(0, keep));
      write_file_atomically(path, whole);
    } else {
      CHECK(contains(error, fmt::format("byte {} is inside a record", keep)));
      CHECK(read_file(path) == whole);
    }
  }
  CHECK(contains(error_of([&] { TensorBoardLog(path, whole.size() + 1); }), "fewer than the"));
  std::string damaged = whole;
  damaged[7] = 1;  // a length of more than any file's
  write_file_atomically(path, damaged);
  CHECK(contains(error_of([&] { TensorBoardLog(path, whole.size()); }), "the record at byte 0 is damaged"));
}
