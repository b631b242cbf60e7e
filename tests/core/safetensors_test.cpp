#include <noisysgd/core/safetensors.h>

#include <rapidcheck.h>

#include <cstring>
#include <fstream>
#include <random>

#include <noisysgd/core/json.h>
#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/hostile_disk.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::test;
namespace fs = std::filesystem;

namespace {

// A file built by hand, independently of the writer.
std::string file_of(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(static_cast<std::uint64_t>(header.size()) >> (8 * i) & 0xFF);
  return bytes + header + data;
}

std::string error_of_file(const TemporaryFolder& folder, const std::string& bytes) {
  write_file_atomically(folder / "f", bytes);
  return error_of([&] { SafetensorsFile file(folder / "f"); });
}

// Reads all that the header promises; memory errors show under the address sanitizer.
void read_everything(const fs::path& path) {
  const SafetensorsFile file(path);
  for (const auto& entry : file.entries()) {
    std::vector<std::byte> bytes(entry.bytes);
    file.read(entry.name, entry.type, entry.shape, bytes);
  }
}

std::string small_file() {
  return file_of(R"({"__metadata__":{"step":"12"},"w":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                 R"("b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})",
                 "abcdefghijk");
}

}  // namespace

TEST_CASE("every type, scalars and empty tensors come back as written") {
  const TemporaryFolder folder;
  const std::vector<std::uint8_t> u8 = {1, 2, 255};
  const std::vector<float> f32 = {1.5f, -0.0f, std::numeric_limits<float>::infinity(), 1e-45f, 5, 6};
  const std::vector<double> f64 = {0.1};
  const std::vector<std::int32_t> i32 = {-1, std::numeric_limits<std::int32_t>::min()};
  const std::vector<std::int64_t> i64 = {std::numeric_limits<std::int64_t>::max()};
  const std::vector<float> none;
  const std::vector<StoredTensor> tensors = {
      stored_tensor<std::uint8_t>("z", {3}, u8),    stored_tensor<float>("conv.weight", {1, 2, 3}, f32),
      stored_tensor<float>("none", {4, 0}, none),   stored_tensor<double>("scalar", {}, f64),
      stored_tensor<std::int32_t>("i32", {2}, i32), stored_tensor<std::int64_t>("ünï \"quoted\"", {1}, i64)};
  write_safetensors(folder / "f", tensors, {{"step", "3"}, {"empty", ""}});

  const SafetensorsFile file(folder / "f");
  CHECK(file.metadata() == StoredMetadata{{"step", "3"}, {"empty", ""}});
  REQUIRE(file.entries().size() == tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    CHECK(file.entries()[i].name == tensors[i].name);  // header order is the caller's
    CHECK(file.entries()[i].type == tensors[i].type);
    CHECK(file.entries()[i].shape == tensors[i].shape);
    CHECK(file.entries()[i].begin % size_of(tensors[i].type) == 0);  // and the data are aligned
  }
  CHECK(file.values<std::uint8_t>("z") == u8);
  CHECK(std::memcmp(file.values<float>("conv.weight").data(), f32.data(), 24) == 0);
  CHECK(file.values<float>("none").empty());
  CHECK(file.values<double>("scalar") == f64);
  CHECK(file.values<std::int32_t>("i32") == i32);
  CHECK(file.values<std::int64_t>("ünï \"quoted\"") == i64);
  CHECK(file.contains("z"));
  CHECK_FALSE(file.contains("y"));
}

TEST_CASE("the bytes are those of the safetensors format") {
  const TemporaryFolder folder;
  const std::vector<std::uint8_t> b = {7, 8, 9};
  const std::vector<float> w = {1.0f, -2.0f};
  const std::vector<StoredTensor> tensors = {stored_tensor<std::uint8_t>("b", {3}, b),
                                             stored_tensor<float>("w", {2}, w)};
  write_safetensors(folder / "f", tensors, {{"k", "v"}});
  const std::string bytes = read_file(folder / "f");
  const std::size_t header_size = static_cast<unsigned char>(bytes[0]);
  CHECK(bytes.substr(1, 7) == std::string(7, '\0'));
  CHECK((8 + header_size) % 8 == 0);
  const std::string header = bytes.substr(8, header_size);
  CHECK(header.substr(0, header.find_last_not_of(' ') + 1) ==
        R"({"__metadata__":{"k":"v"},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},)"
        R"("w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})");
  CHECK(bytes.substr(8 + header_size) == std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0\x07\x08\x09", 11));
}

TEST_CASE("a file without tensors, and one written by hand with another order, are read") {
  const TemporaryFolder folder;
  write_safetensors(folder / "f", {});
  CHECK(read_file(folder / "f") == file_of("{}      ", ""));
  CHECK(SafetensorsFile(folder / "f").entries().empty());
  write_file_atomically(folder / "f", small_file());
  const SafetensorsFile file(folder / "f");
  CHECK(file.values<std::uint8_t>("b") == std::vector<std::uint8_t>{'i', 'j', 'k'});
  CHECK(file.metadata().at("step") == "12");
}

TEST_CASE("any set of tensors makes the round trip") {
  const TemporaryFolder folder;
  CHECK(rc::check([&] {
    const auto count = *rc::gen::inRange<std::size_t>(0, 6);
    std::vector<std::vector<std::byte>> data(count);
    std::vector<StoredTensor> tensors;
    for (std::size_t i = 0; i < count; ++i) {
      const auto type =
          *rc::gen::element(StoredType::f32, StoredType::f64, StoredType::i32, StoredType::i64, StoredType::u8);
      const auto shape = *rc::gen::resize(3, rc::gen::container<StoredShape>(rc::gen::inRange<std::int64_t>(0, 4)));
      std::size_t bytes = size_of(type);
      for (const auto dimension : shape) bytes *= static_cast<std::size_t>(dimension);
      for (std::size_t b = 0; b < bytes; ++b)
        data[i].push_back(static_cast<std::byte>(*rc::gen::arbitrary<std::uint8_t>()));
      tensors.push_back({"tensor " + std::to_string(i), type, shape, data[i]});
    }
    write_safetensors(folder / "f", tensors);
    const SafetensorsFile file(folder / "f");
    RC_ASSERT(file.entries().size() == count);
    for (std::size_t i = 0; i < count; ++i) {
      std::vector<std::byte> got(data[i].size(), std::byte{0xAA});
      file.read(tensors[i].name, tensors[i].type, tensors[i].shape, got);
      RC_ASSERT(got == data[i]);
    }
  }));
}

TEST_CASE("the writer refuses what it could not read back, and writes nothing") {
  const TemporaryFolder folder;
  const std::vector<float> two = {1, 2};
  const auto problem = [&](std::vector<StoredTensor> tensors) {
    return error_of([&] { write_safetensors(folder / "f", tensors); });
  };
  const auto tensor = [&](std::string name, StoredShape shape) { return stored_tensor<float>(name, shape, two); };
  CHECK(contains(problem({tensor("a", {3})}), "tensor \"a\" of type F32 and shape [3] has 8 bytes"));
  CHECK(contains(problem({tensor("a", {-1, -2})}), "shape [-1,-2]"));
  CHECK(contains(problem({tensor("a", {std::int64_t{1} << 62, 8, 2})}), "has 8 bytes"));
  CHECK(contains(problem({tensor("a", {2}), tensor("a", {2})}), "two tensors named \"a\""));
  CHECK(contains(problem({tensor("__metadata__", {2})}), "cannot name a tensor"));
  CHECK(contains(problem({tensor("\xff", {2})}), "not UTF-8"));
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("a full disk or an unwritable folder leaves the previous checkpoint and no temporary") {
  const TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms::owner_all | fs::perms::others_exec | fs::perms::others_read);
  const fs::path inner = folder / "run";
  fs::create_directory(inner);
  const std::vector<float> old_values = {1, 2, 3};
  const std::vector<float> values(10'000, 4.0f);
  const std::vector<StoredTensor> old_tensors = {stored_tensor<float>("w", {3}, old_values)};
  const std::vector<StoredTensor> tensors = {stored_tensor<float>("w", {10'000}, values)};
  write_safetensors(inner / "c", old_tensors);
  std::string full, denied;
  {
    const FileSizeLimit limit(20'000);
    full = error_of([&] { write_safetensors(inner / "c", tensors); });
  }
  {
    const ReadOnlyFolder read_only(inner);
    denied = error_of([&] { write_safetensors(inner / "c", tensors); });
  }
  CHECK(full == "cannot write " + (inner / "c").string() + ": File too large");
  CHECK(denied == "cannot write " + (inner / "c").string() + ": Permission denied");
  CHECK(SafetensorsFile(inner / "c").values<float>("w") == old_values);
  CHECK(std::distance(fs::directory_iterator(inner), fs::directory_iterator()) == 1);
}

TEST_CASE("an open file survives its replacement") {
  const TemporaryFolder folder;
  const std::vector<float> first = {1}, second = {2};
  write_safetensors(folder / "f", std::vector{stored_tensor<float>("w", {1}, first)});
  const SafetensorsFile file(folder / "f");
  write_safetensors(folder / "f", std::vector{stored_tensor<float>("w", {1}, second)});
  CHECK(file.values<float>("w") == first);
  CHECK(SafetensorsFile(folder / "f").values<float>("w") == second);
}

TEST_CASE("a header is read from bytes in memory as from a file") {
  const std::string whole = small_file();
  const SafetensorsHeader header = read_safetensors_header(std::as_bytes(std::span(whole)));
  REQUIRE(header.entries.size() == 2);
  CHECK(header.entries[1].name == "b");
  CHECK(header.entries[1].shape == StoredShape{3});
  CHECK(header.metadata.at("step") == "12");
  CHECK(whole.substr(header.data_begin + header.entries[1].begin, header.entries[1].bytes) == "ijk");
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK_THROWS_AS(read_safetensors_header(std::as_bytes(std::span(whole).first(size))), Error);
}

TEST_CASE("a header above the limit of the format is refused before memory is allocated for it") {
  const auto message = [](std::uint64_t header_bytes) {
    return error_of([&] {
      read_safetensors_header(std::uint64_t{1} << 40, [&](std::uint64_t offset, std::span<std::byte> destination) {
        NSGD_CHECK(offset == 0, "{} bytes were to be read", destination.size());
        std::memcpy(destination.data(), &header_bytes, destination.size());
      });
    });
  };
  CHECK(message(100'000'000) == "100000000 bytes were to be read");
  CHECK(contains(message(100'000'001), "the header length is 100000001 bytes"));
}

TEST_CASE("asking for a missing tensor names it") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", small_file());
  const SafetensorsFile file(folder / "f");
  CHECK(contains(error_of([&] { file.entry("W"); }), "has no tensor \"W\""));
  CHECK(contains(error_of([&] { file.values<double>("w"); }),
                 "tensor \"w\" has type F32 and shape [2,1], expected F64 and [2,1]"));
  std::vector<std::byte> bytes(8);
  CHECK(contains(error_of([&] { file.read("w", StoredType::f32, {2}, bytes); }), "expected F32 and [2]"));
  bytes.resize(7);
  CHECK(contains(error_of([&] { file.read("w", StoredType::f32, {2, 1}, bytes); }), "has 8 bytes, the destination 7"));
  CHECK(contains(error_of([&] { SafetensorsFile missing(folder / "no"); }), "No such file"));
}

TEST_CASE("every kind of damage in the header has its own message") {
  const TemporaryFolder folder;
  const std::string eight(8, 'x');
  const auto header = [&](const std::string& text) { return error_of_file(folder, file_of(text, eight)); };
  const auto tensor = [&](const std::string& body) { return header("{\"w\":{" + body + "}}"); };
  CHECK(contains(error_of_file(folder, "1234567"), "7 bytes are too few"));
  CHECK(contains(error_of_file(folder, ""), "0 bytes are too few"));
  CHECK(contains(error_of_file(folder, std::string(8, '\xff') + "{}"),
                 "18446744073709551615 bytes, but 2 bytes follow"));
  CHECK(contains(header("[]"), "does not begin with '{'"));
  CHECK(contains(header(""), "does not begin with '{'"));
  CHECK(contains(header(" {}"), "does not begin with '{'"));
  CHECK(contains(header("{\"w\":"), "header:1:6: syntax error"));
  CHECK(contains(header(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                        R"("w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
                 "$.w: duplicate key"));
  CHECK(contains(header(R"({"__metadata__":[]})"), "__metadata__ is array, not an object"));
  CHECK(contains(header(R"({"__metadata__":{"a":1}})"), "__metadata__ \"a\" is number, not a text"));
  CHECK(contains(header(R"({"w":3})"), "tensor \"w\": is described by number"));
  CHECK(contains(tensor(R"("dtype":"BF16","shape":[4],"data_offsets":[0,8])"), "type \"BF16\" is not supported"));
  CHECK(contains(tensor(R"("shape":[2],"data_offsets":[0,8])"), "\"dtype\" is missing"));
  CHECK(contains(tensor(R"("dtype":"F32","data_offsets":[0,8])"), "\"shape\" is missing"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[2])"), "\"data_offsets\" is missing"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1)"), "unknown key \"x\""));
  CHECK(contains(tensor(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), "shape is number, not a list"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "a dimension is -2"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "a dimension is 2.0"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"), "is too large"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), "not a list of two"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "run backwards"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])"), "data_offsets[0] is -8"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), "do not make 8 bytes"));
  // 2^62 · 4 · 4 bytes and 2^32 · 2^32 · 4 bytes are 0 modulo 2^64.
  CHECK(
      contains(tensor(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0])"), "do not make 0 bytes"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"), "do not make 0"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), "ends at byte 16 of 8 bytes"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), "the tensors fill 4 of 8 bytes"));
  CHECK(contains(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"),
                 "begins at byte 4 of the data, expected 0"));
  CHECK(contains(header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                        R"("b":{"dtype":"U8","shape":[5],"data_offsets":[3,8]}})"),
                 "tensor \"b\" begins at byte 3 of the data, expected 4"));
  CHECK(contains(tensor(R"("dtype":"U8","shape":[1],"data_offsets":[18446744073709551614,18446744073709551615])"),
                 "begins at byte 18446744073709551614"));
  // The damage was the cause.
  CHECK(tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])") == "no error was thrown");
}

TEST_CASE("a file cut anywhere, or one byte too long, is refused") {
  const TemporaryFolder folder;
  const std::string whole = small_file();
  REQUIRE(error_of_file(folder, whole) == "no error was thrown");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    CHECK(contains(error_of_file(folder, whole.substr(0, size)), "cannot read " + (folder / "f").string()));
  }
  CHECK(contains(error_of_file(folder, whole + "x"), "the tensors fill 11 of 12 bytes"));
}

TEST_CASE("a file cut after it was opened is an error of the read") {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", small_file());
  const SafetensorsFile file(folder / "f");
  fs::resize_file(folder / "f", small_file().size() - 1);
  CHECK(contains(error_of([&] { file.values<std::uint8_t>("b"); }), "it ends at byte"));
}

TEST_CASE("flipped bytes give an error or a readable file, never anything else") {
  const TemporaryFolder folder;
  const std::string whole = small_file();
  std::mt19937 random(7);
  int readable = 0, refused = 0;
  const auto try_file = [&](const std::string& bytes) {
    std::ofstream(folder / "f", std::ios::binary) << bytes;
    try {
      read_everything(folder / "f");
      ++readable;
    } catch (const Error&) {
      ++refused;
    }
  };
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      try_file(bytes);
    }
  }
  for (int trial = 0; trial < 5000; ++trial) {
    std::string bytes = whole;
    const int flips = 1 + static_cast<int>(random() % 6);
    for (int flip = 0; flip < flips; ++flip) bytes[random() % bytes.size()] = static_cast<char>(random());
    try_file(bytes);
  }
  CHECK(readable > 0);  // a file with a flip in the data or in a name is readable
  CHECK(refused > 1000);
}
