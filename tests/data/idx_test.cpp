#include <noisysgd/data/idx.h>

#include <rapidcheck.h>
#include <unistd.h>

#include <cstdlib>

#include <noisysgd/data/file.h>
#include <noisysgd/data/gzip.h>
#include "tests/data/bytes.h"
#include "tests/hostile_disk.h"

using namespace noisysgd;
using namespace noisysgd::testing;

TEST_CASE("IDX images and labels, plain and compressed") {
  const TemporaryFolder folder;
  const Bytes pixels = noise_bytes(5 * 4 * 3);
  const Bytes labels{3, 0, 9, 9, 1};
  put(folder / "images", idx_bytes({5, 4, 3}, pixels));
  put(folder / "labels", idx_bytes({5}, labels));
  put_gzip(folder / "images.gz", idx_bytes({5, 4, 3}, pixels));
  put_gzip(folder / "labels.gz", idx_bytes({5}, labels));
  for (const std::string suffix : {"", ".gz"}) {
    const Dataset dataset = load_idx(folder / ("images" + suffix), folder / ("labels" + suffix), 10);
    CHECK(dataset.count == 5);
    CHECK(dataset.height == 4);
    CHECK(dataset.width == 3);
    CHECK(dataset.channels == 1);
    CHECK(dataset.classes == 10);
    CHECK(dataset.images == pixels);
    CHECK(dataset.labels == std::vector<int32_t>{3, 0, 9, 9, 1});
    CHECK(dataset.class_names.size() == 10);
  }
}

TEST_CASE("IDX colour images and a number of classes taken from the labels") {
  const TemporaryFolder folder;
  const Bytes pixels = noise_bytes(2 * 3 * 4 * 3);
  put(folder / "images", idx_bytes({2, 3, 4, 3}, pixels));
  put(folder / "labels", idx_bytes({2}, {46, 0}));
  const Dataset dataset = load_idx(folder / "images", folder / "labels");
  CHECK(dataset.channels == 3);
  CHECK(dataset.classes == 47);
  CHECK(dataset.images == pixels);
}

TEST_CASE("sizes in IDX headers are of four bytes, the first the highest") {
  const Bytes many = noise_bytes(0x012345);
  CHECK(parse_idx(idx_bytes({0x012345}, many), "data").values == many);
  check_mentions(error_of([] { parse_idx(idx_bytes({0x01020304}, {}), "data"); }), {"shape [16909060]"});
}

TEST_CASE("the content decides whether a file is compressed, not its name; members may follow each other") {
  const TemporaryFolder folder;
  put(folder / "plain.gz", idx_bytes({3}, {1, 2, 3}));
  CHECK(read_idx(folder / "plain.gz").values == Bytes{1, 2, 3});
  const Bytes all = idx_bytes({300}, noise_bytes(300));
  put_gzip(folder / "first", Bytes(all.begin(), all.begin() + 100));
  put_gzip(folder / "second", Bytes(all.begin() + 100, all.end()));
  Bytes both = get(folder / "first");
  append(both, get(folder / "second"));
  put(folder / "both", both);
  CHECK(read_idx(folder / "both").values == noise_bytes(300));
}

TEST_CASE("any array survives compression at any level") {
  const TemporaryFolder folder;
  CHECK(rc::check("round trip", [&] {
    const auto count = *rc::gen::inRange<size_t>(1, 20000);
    Bytes values = noise_bytes(count, *rc::gen::inRange<uint32_t>(0, 1000));
    if (*rc::gen::arbitrary<bool>()) values.assign(count, 0);  // compresses a thousandfold
    const std::string mode = "wb" + std::to_string(*rc::gen::inRange(0, 10));
    put_gzip(folder / "array", idx_bytes({static_cast<uint32_t>(count)}, values), mode.c_str());
    RC_ASSERT(read_idx(folder / "array").values == values);
  }));
}

TEST_CASE("data that inflates far beyond the first guess is read") {
  const TemporaryFolder folder;
  const Bytes zeros(5000000, 0);
  put_gzip(folder / "zeros", zeros);
  CHECK(read_maybe_gzip(folder / "zeros", zeros.size()) == zeros);
}

TEST_CASE("bad IDX files are refused by name and value") {
  const TemporaryFolder folder;
  const auto message = [&](const Bytes& bytes) {
    put(folder / "file", bytes);
    return error_of([&] { read_idx(folder / "file"); });
  };
  const std::string path = (folder / "file").string();
  Bytes bad = idx_bytes({2, 2}, {1, 2, 3, 4});

  check_mentions(message({}), {path, "empty"});
  check_mentions(message({0, 0, 8}), {path, "3 bytes"});
  check_mentions(message({0x89, 'P', 'N', 'G', 1, 2}), {path, "not an IDX file", "89 50"});
  check_mentions(message(idx_bytes({2}, {1, 2}, 0x0d)), {path, "type 0x0d", "0x08"});
  check_mentions(message({0, 0, 8, 0}), {path, "0 dimensions"});
  check_mentions(message(idx_bytes({1, 1, 1, 1, 1}, {7})), {path, "5 dimensions, expected 1"});
  check_mentions(message({0, 0, 8, 3, 0, 0, 0, 1}), {path, "truncated in the header", "8 bytes", "16"});
  check_mentions(message(idx_bytes({2, 0}, {})), {path, "dimension 1 is 0"});
  check_mentions(message(Bytes(bad.begin(), bad.end() - 1)),
                 {path, "truncated", "[2, 2]", "needs 4", "has 3", "1 bytes are missing"});
  bad.push_back(5);
  check_mentions(message(bad), {path, "1 unexpected bytes", "[2, 2]"});
  // Not only the product of the first dimensions.
  check_mentions(message(idx_bytes({100, 28, 28}, noise_bytes(50))),
                 {path, "[100, 28, 28] needs 78400", "has 50", "78350 bytes are missing"});
  // A product of 2^64 must not wrap to something small.
  check_mentions(message(idx_bytes({0x80000000, 0x80000000, 4}, {1, 2})), {path, "truncated"});
}

TEST_CASE("searching for the end of gzip data consumes nothing") {
  const TemporaryFolder folder;
  put_gzip(folder / "gz", {1, 2, 3, 4});
  const Bytes compressed = get(folder / "gz");
  GzipReader reader(compressed, "data");
  Bytes bytes;
  CHECK_FALSE(reader.at_end());
  reader.append(bytes, 2);
  CHECK(bytes == Bytes{1, 2});
  CHECK_FALSE(reader.at_end());
  reader.append(bytes, 9);
  CHECK(bytes == Bytes{1, 2, 3, 4});
  CHECK(reader.at_end());
}

TEST_CASE("bad gzip data is refused") {
  const TemporaryFolder folder;
  put_gzip(folder / "whole", idx_bytes({5000}, noise_bytes(5000)));
  const Bytes whole = get(folder / "whole");
  put(folder / "cut", Bytes(whole.begin(), whole.end() - 20));
  check_mentions(error_of([&] { read_idx(folder / "cut"); }), {"cut", "truncated"});
  put(folder / "no-trailer", Bytes(whole.begin(), whole.end() - 4));
  check_mentions(error_of([&] { read_idx(folder / "no-trailer"); }), {"no-trailer", "truncated"});
  Bytes flipped = whole;
  flipped[flipped.size() - 6] ^= 1;  // the checksum
  put(folder / "flipped", flipped);
  check_mentions(error_of([&] { read_idx(folder / "flipped"); }), {"flipped", "corrupt gzip"});
  Bytes garbage = whole;
  append(garbage, {1, 2, 3, 4});
  put(folder / "garbage", garbage);
  check_mentions(error_of([&] { read_idx(folder / "garbage"); }),
                 {"garbage", "gzip data ends at byte", "4 bytes that are not all zeros"});
  Bytes padded = whole;
  append(padded, {0, 0, 0x78});
  put(folder / "padded", padded);
  check_mentions(error_of([&] { read_idx(folder / "padded"); }), {"3 bytes that are not all zeros follow"});
}

TEST_CASE("only zeros may follow gzip data") {
  const TemporaryFolder folder;
  put_gzip(folder / "gz", idx_bytes({3}, {1, 2, 3}));
  const auto with = [&](const Bytes& more) {
    Bytes bytes = get(folder / "gz");
    append(bytes, more);
    return bytes;
  };
  CHECK(parse_idx(with({}), "data").values == Bytes{1, 2, 3});
  CHECK(parse_idx(with(Bytes(5000)), "data").values == Bytes{1, 2, 3});
  for (const Bytes& more : {Bytes{1}, Bytes{0, 0, 1}, Bytes{0x1f}, Bytes{0x1f, 0}})
    check_mentions(error_of([&] { parse_idx(with(more), "data"); }),
                   {"data: the gzip data ends at byte", std::to_string(more.size()) + " bytes that are not all zeros follow"});
  check_mentions(error_of([&] { parse_idx(with({0x1f, 0x8b, 8}), "data"); }), {"data", "truncated"});
}

TEST_CASE("gzip data is unpacked only as far as the IDX header says") {
  const TemporaryFolder folder;
  Bytes long_one = idx_bytes({3}, {1, 2, 3});
  long_one.resize(20000000);
  put_gzip(folder / "gz", long_one, "wb9");
  const Bytes compressed = get(folder / "gz");
  check_mentions(error_of([&] { parse_idx(compressed, "data"); }), {"data: unexpected bytes after the 3 values"});
  // The damage is after the needed part; unpacking everything would have met it first.
  const Bytes cut(compressed.begin(), compressed.end() - 1000);
  check_mentions(error_of([&] { parse_idx(cut, "data"); }), {"data: unexpected bytes after the 3 values"});
  check_mentions(error_of([&] { gunzip(cut, 1000, "data"); }), {"data", "more than the 1000 bytes expected"});
  CHECK(gunzip(compressed, long_one.size(), "data") == long_one);
}

TEST_CASE("one complete copy of two is enough") {
  const TemporaryFolder folder;
  put(folder / "damaged", Bytes{0x1f, 0x8b, 8, 0, 1});
  put(folder / "empty", Bytes{});
  put(folder / "good", idx_bytes({3}, {1, 2, 3}));
  const auto read = [](const std::vector<std::filesystem::path>& copies) { return read_idx(copies); };
  CHECK(read({folder / "damaged", folder / "good"}).values == Bytes{1, 2, 3});
  CHECK(read({folder / "good", folder / "damaged"}).name == (folder / "good").string());
  check_mentions(error_of([&] {
                   read({folder / "damaged", folder / "empty"});
                 }),
                 {(folder / "damaged").string() + ": the gzip data is truncated",
                  "; " + (folder / "empty").string() + ": the file is empty"});
}

TEST_CASE("a tilde is the home folder, at the beginning of a path only") {
  const char* home = std::getenv("HOME");
  const std::string before = home ? home : "";
  ::setenv("HOME", "/home/somebody", 1);
  CHECK(expand_home("~") == "/home/somebody");
  CHECK(expand_home("~/data sets") == "/home/somebody/data sets");
  CHECK(expand_home("~other/data") == "~other/data");
  CHECK(expand_home("data/~/x") == "data/~/x");
  CHECK(expand_home("").empty());
  ::unsetenv("HOME");
  check_mentions(error_of([] { expand_home("~/data"); }), {"~/data", "HOME is not set"});
  if (home) ::setenv("HOME", before.c_str(), 1);
}

TEST_CASE("every truncation of a file is refused") {
  const TemporaryFolder folder;
  put_gzip(folder / "gz", idx_bytes({40}, noise_bytes(40)));
  for (const Bytes& whole : {idx_bytes({3, 2}, noise_bytes(6)), get(folder / "gz")})
    for (size_t length = 0; length < whole.size(); ++length) {
      put(folder / "cut", Bytes(whole.begin(), whole.begin() + static_cast<int64_t>(length)));
      REQUIRE_THROWS_AS(read_idx(folder / "cut"), Error);
    }
}

TEST_CASE("images and labels that do not match are refused") {
  const TemporaryFolder folder;
  put(folder / "images", idx_bytes({3, 2, 2}, noise_bytes(12)));
  put(folder / "labels", idx_bytes({3}, {0, 10, 2}));
  put(folder / "few", idx_bytes({2}, {0, 1}));
  check_mentions(error_of([&] { load_idx(folder / "images", folder / "few"); }), {"3 images", "few", "2 labels"});
  put(folder / "many", idx_bytes({4}, {0, 1, 0, 1}));
  check_mentions(error_of([&] { load_idx(folder / "images", folder / "many"); }), {"3 images", "many", "4 labels"});
  check_mentions(error_of([&] { load_idx(folder / "images", folder / "labels", 10); }),
                 {"labels", "label 10 of image 1", "0 to 9"});
  check_mentions(error_of([&] { load_idx(folder / "labels", folder / "labels"); }), {"1 dimensions", "for images"});
  check_mentions(error_of([&] { load_idx(folder / "images", folder / "images"); }), {"3 dimensions", "for labels"});
}

TEST_CASE("files that cannot be read are named") {
  const TemporaryFolder folder;
  check_mentions(error_of([&] { read_idx(folder / "absent"); }), {(folder / "absent").string(), "No such file"});
  check_mentions(error_of([&] { read_idx(folder.path()); }), {folder.path().string(), "not a regular file"});
  if (geteuid() != 0) {  // root may read everything
    put(folder / "secret", idx_bytes({1}, {0}));
    std::filesystem::permissions(folder / "secret", std::filesystem::perms::none);
    check_mentions(error_of([&] { read_idx(folder / "secret"); }), {"secret", "Permission denied"});
  }
}

TEST_CASE("files that cannot be written are named, and none is left in part") {
  const TemporaryFolder folder;
  const std::string on_a_full_disk = error_of([&] {
    const test::FileSizeLimit limit(999);
    write_file(folder / "file", noise_bytes(1000));
  });
  check_mentions(on_a_full_disk, {(folder / "file").string()});
  CHECK(std::filesystem::is_empty(folder.path()));
  check_mentions(error_of([] { write_file("/nonexistent/file", noise_bytes(1)); }), {"/nonexistent/file"});
}
