#include <noisysgd/data/cifar.h>

#include "tests/data/bytes.h"

using namespace noisysgd;
using namespace noisysgd::testing;

namespace {

// Records with the given labels and with noise as planes.
Bytes records(const std::vector<Bytes>& labels, uint32_t seed) {
  Bytes bytes;
  for (const Bytes& label : labels) {
    append(bytes, label);
    append(bytes, noise_bytes(3072, seed++));
  }
  return bytes;
}

uint8_t plane_pixel(const Bytes& file, int64_t record_size, int64_t image, int64_t c, int64_t y, int64_t x) {
  return file[static_cast<size_t>(image * record_size + (record_size - 3072) + c * 1024 + y * 32 + x)];
}

}  // namespace

TEST_CASE("CIFAR-10 files follow each other and planes become interleaved") {
  const TemporaryFolder folder;
  const Bytes first = records({{0}, {9}, {4}}, 1), second = records({{7}, {2}}, 50);
  put(folder / "a.bin", first);
  put(folder / "b.bin", second);
  const Dataset dataset = load_cifar(CifarVersion::cifar10, {folder / "a.bin", folder / "b.bin"});
  CHECK(dataset.count == 5);
  CHECK(dataset.height == 32);
  CHECK(dataset.width == 32);
  CHECK(dataset.channels == 3);
  CHECK(dataset.classes == 10);
  CHECK(dataset.labels == std::vector<int32_t>{0, 9, 4, 7, 2});
  REQUIRE(dataset.images.size() == 5 * 3072);
  for (int64_t i = 0; i < 5; ++i)
    for (int64_t y = 0; y < 32; ++y)
      for (int64_t x = 0; x < 32; ++x)
        for (int64_t c = 0; c < 3; ++c)
          REQUIRE(dataset.images[static_cast<size_t>(((i * 32 + y) * 32 + x) * 3 + c)] ==
                  (i < 3 ? plane_pixel(first, 3073, i, c, y, x) : plane_pixel(second, 3073, i - 3, c, y, x)));
}

TEST_CASE("CIFAR-100 uses the fine labels") {
  const TemporaryFolder folder;
  const Bytes file = records({{19, 99}, {3, 0}, {200, 42}}, 7);
  put(folder / "train.bin", file);
  const Dataset dataset = load_cifar(CifarVersion::cifar100, {folder / "train.bin"});
  CHECK(dataset.classes == 100);
  CHECK(dataset.labels == std::vector<int32_t>{99, 0, 42});
  CHECK(dataset.images[(32 * 5 + 6) * 3 + 1] == plane_pixel(file, 3074, 0, 1, 5, 6));
  CHECK(dataset.images[2 * 3072 + (32 * 31 + 31) * 3 + 2] == plane_pixel(file, 3074, 2, 2, 31, 31));
}

TEST_CASE("bad CIFAR files are refused by name and value") {
  const TemporaryFolder folder;
  const auto message = [&](CifarVersion version, const Bytes& bytes) {
    put(folder / "file.bin", bytes);
    return error_of([&] { load_cifar(version, {folder / "file.bin"}); });
  };
  const std::string path = (folder / "file.bin").string();
  Bytes good = records({{1}, {2}}, 3);
  check_mentions(message(CifarVersion::cifar10, {}), {path, "empty"});
  check_mentions(message(CifarVersion::cifar10, Bytes(good.begin(), good.end() - 5)),
                 {path, "6141 bytes", "3073", "3068 bytes are left over, 5 more would"});
  check_mentions(message(CifarVersion::cifar10, records({{1}, {10}}, 1)), {path, "label 10 of image 1", "0 to 9"});
  check_mentions(message(CifarVersion::cifar100, records({{1, 100}}, 1)), {path, "label 100 of image 0", "0 to 99"});
  check_mentions(message(CifarVersion::cifar100, good), {path, "3074"});  // CIFAR-10 read as CIFAR-100
  check_mentions(error_of([] { load_cifar(CifarVersion::cifar10, {}); }), {"no files"});
  check_mentions(error_of([&] { load_cifar(CifarVersion::cifar10, {folder / "absent.bin"}); }), {"absent.bin"});
}

TEST_CASE("a compressed CIFAR file is not unpacked beyond the images of the whole set") {
  const TemporaryFolder folder;
  put_gzip(folder / "zeros.bin", Bytes(60001 * 3073), "wb1");
  check_mentions(error_of([&] { load_cifar(CifarVersion::cifar10, {folder / "zeros.bin"}); }),
                 {"zeros.bin", "more than the 184380000 bytes expected"});
}

TEST_CASE("class names are one per line") {
  const TemporaryFolder folder;
  put(folder / "names.txt", std::string("airplane\r\ncat\n\n"));
  CHECK(read_class_names(folder / "names.txt", 2) == std::vector<std::string>{"airplane", "cat"});
  check_mentions(error_of([&] { read_class_names(folder / "names.txt", 10); }),
                 {"names.txt", "2 class names", "expected 10"});
}
