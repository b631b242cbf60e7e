#include <noisysgd/data/image_folder.h>

#include <stb_image_write.h>
#include <sys/stat.h>

#include <cmath>

#include <noisysgd/data/contact_sheet.h>
#include <noisysgd/data/resize.h>
#include "tests/data/bytes.h"

using namespace noisysgd;
using namespace noisysgd::testing;
namespace fs = std::filesystem;

namespace {

void put_png(const fs::path& path, int height, int width, int channels, const Bytes& pixels) {
  fs::create_directories(path.parent_path());
  REQUIRE(stbi_write_png(path.c_str(), width, height, channels, pixels.data(), width * channels) != 0);
}

// Two classes, three training and two test images of 4×5.
void put_small_set(const fs::path& root, int channels) {
  const auto size = static_cast<size_t>(4 * 5 * channels);
  put_png(root / "train/dog/b.png", 4, 5, channels, noise_bytes(size, 2));
  put_png(root / "train/dog/a.PNG", 4, 5, channels, noise_bytes(size, 1));
  put_png(root / "train/ant/z.png", 4, 5, channels, noise_bytes(size, 3));
  put_png(root / "test/dog/q.png", 4, 5, channels, noise_bytes(size, 4));
  put_png(root / "test/ant/q.png", 4, 5, channels, noise_bytes(size, 5));
  put(root / "train/dog/README.txt", std::string("not an image"));
  put(root / "train/dog/.hidden.png", std::string("not an image"));
}

Bytes joined(const std::vector<Bytes>& parts) {
  Bytes all;
  for (const auto& part : parts) append(all, part);
  return all;
}

}  // namespace

TEST_CASE("image folders are read in sorted order, grey or colour") {
  for (const int channels : {1, 3}) {
    const TemporaryFolder folder;
    put_small_set(folder.path(), channels);
    const auto [train, test] = load_image_folder(folder.path(), {});
    const auto size = static_cast<size_t>(20 * channels);
    CHECK(train.count == 3);
    CHECK(train.height == 4);
    CHECK(train.width == 5);
    CHECK(train.channels == channels);
    CHECK(train.classes == 2);
    CHECK(train.class_names == std::vector<std::string>{"ant", "dog"});
    CHECK(train.labels == std::vector<int32_t>{0, 1, 1});
    CHECK(train.images == joined({noise_bytes(size, 3), noise_bytes(size, 1), noise_bytes(size, 2)}));
    CHECK(test.labels == std::vector<int32_t>{0, 1});
    CHECK(test.images == joined({noise_bytes(size, 5), noise_bytes(size, 4)}));
    CHECK(test.class_names == train.class_names);
  }
}

TEST_CASE("one colour image makes the set colour; grey ones repeat their channel; transparency is dropped") {
  const TemporaryFolder folder;
  put_small_set(folder.path(), 1);
  const Bytes colour = noise_bytes(60, 9), transparent = noise_bytes(80, 10);
  put_png(folder / "train/ant/colour.png", 4, 5, 3, colour);
  put_png(folder / "train/ant/transparent.png", 4, 5, 4, transparent);
  const auto [train, test] = load_image_folder(folder.path(), {});
  REQUIRE(train.channels == 3);
  REQUIRE(test.channels == 3);
  for (size_t p = 0; p < 20; ++p)
    for (size_t c = 0; c < 3; ++c) {
      CHECK(train.images[p * 3 + c] == colour[p * 3 + c]);
      CHECK(train.images[60 + p * 3 + c] == transparent[p * 4 + c]);
      CHECK(train.images[120 + p * 3 + c] == noise_bytes(20, 3)[p]);
      CHECK(test.images[p * 3 + c] == noise_bytes(20, 5)[p]);
    }
}

TEST_CASE("the number of channels can be set") {
  const TemporaryFolder folder;
  put_small_set(folder.path(), 3);
  ImageFolderOptions options;
  options.channels = 1;
  CHECK(load_image_folder(folder.path(), options).train.channels == 1);
  put_small_set(folder.path(), 1);
  options.channels = 3;
  CHECK(load_image_folder(folder.path(), options).train.channels == 3);
  options.channels = 2;
  check_mentions(error_of([&] { load_image_folder(folder.path(), options); }), {"channels is 2"});
}

TEST_CASE("images of another size are refused, or resized when a size is given") {
  const TemporaryFolder folder;
  put_small_set(folder.path(), 1);
  const Bytes large = noise_bytes(8 * 10, 20);
  put_png(folder / "test/ant/large.png", 8, 10, 1, large);
  check_mentions(error_of([&] { load_image_folder(folder.path(), {}); }),
                 {(folder / "test/ant/large.png").string(), "8×10", "4×5", "give height and width"});
  ImageFolderOptions options;
  options.height = 4, options.width = 5;
  const Dataset test = load_image_folder(folder.path(), options).test;
  REQUIRE(test.count == 3);
  const Bytes expected = resize_image(large.data(), 8, 10, 1, 4, 5);
  CHECK(Bytes(test.image(0).begin(), test.image(0).end()) == expected);
  options.width = 0;
  check_mentions(error_of([&] { load_image_folder(folder.path(), options); }), {"height is 4", "width is 0"});
}

TEST_CASE("no file that looks like an image is skipped") {
  const TemporaryFolder folder;
  put_small_set(folder.path(), 1);
  const auto message = [&] { return error_of([&] { load_image_folder(folder.path(), {}); }); };
  const fs::path ant = folder / "train/ant";
  const auto check = [&](const fs::path& path, const std::string& reason) {
    check_mentions(message(), {path.string(), reason});
    fs::remove_all(path);
  };
  put_png(ant / "more/1.png", 4, 5, 1, noise_bytes(20));
  check(ant / "more", "a folder within a class");
  fs::create_symlink("/nowhere/1.png", ant / "1.png");
  check(ant / "1.png", "link to something that is not there");
  fs::create_directory_symlink("/nowhere", folder / "train/bird");
  check(folder / "train/bird", "link to something that is not there");
  fs::copy(folder / "train/dog/b.png", folder / "train/b.png");
  check(folder / "train/b.png", "an image outside the class folders");
  REQUIRE(::mkfifo((ant / "pipe.png").c_str(), 0666) == 0);
  check(ant / "pipe.png", "neither a file nor a folder");
  put(ant / "a.webp", std::string("RIFF....WEBPVP8 "));
  check(ant / "a.webp", "WebP");
  put(ant / "a.gif", std::string("GIF89a"));
  check(ant / "a.gif", "GIF");
  put(ant / "a.tif", std::string("II*\0", 4));
  check(ant / "a.tif", "TIFF");
  fs::copy(folder / "train/dog/b.png", ant / "b");
  check(ant / "b", "its name has no extension of an image");
  put(ant / "Thumbs.db", std::string("not an image"));
  put(folder / "train/labels.csv", std::string("not an image"));
  CHECK_NOTHROW(load_image_folder(folder.path(), {}));
}

TEST_CASE("of several files with an error the first is named and the others are counted") {
  const TemporaryFolder folder;
  put_small_set(folder.path(), 1);
  const auto message = [&] { return error_of([&] { load_image_folder(folder.path(), {}); }); };
  for (const char* name : {"train/ant/c.png", "train/dog/0.png", "train/ant/b.png"})
    put(folder / name, std::string("x"));
  CHECK(message() == (folder / "train/ant/b.png").string() +
                         ": cannot be decoded: it is no image in PNG, JPEG, BMP, TGA or binary PGM or PPM"
                         " (and 2 more files with an error)");
  for (const char* name : {"train/dog/2", "train/ant/1"}) fs::create_directories(folder / name);
  CHECK(message() == (folder / "train/ant/1").string() +
                         ": is a folder within a class; expected images only (and 1 more file with an error)");
}

TEST_CASE("links to images and to classes are followed") {
  const TemporaryFolder folder;
  put_small_set(folder / "set", 1);
  put_png(folder / "elsewhere/1.png", 4, 5, 1, noise_bytes(20));
  fs::create_symlink(folder / "elsewhere/1.png", folder / "set/train/ant/1.png");
  fs::create_directory_symlink(folder / "elsewhere", folder / "set/train/bee");
  CHECK(load_image_folder(folder / "set", {}).train.labels == std::vector<int32_t>{0, 0, 1, 2, 2});
}

TEST_CASE("a size to resize to that no image may have is refused") {
  const TemporaryFolder folder;
  put_small_set(folder.path(), 1);
  ImageFolderOptions options;
  for (const int64_t side : {int64_t{100000}, int64_t{1} << 32, INT64_MAX}) {
    options.height = options.width = side;
    check_mentions(error_of([&] { load_image_folder(folder.path(), options); }),
                   {std::to_string(side) + "×" + std::to_string(side), "more than 268435456 pixels"});
  }
}

TEST_CASE("sizes are compared before anything is decoded") {
  const TemporaryFolder folder;
  put_small_set(folder.path(), 1);
  put_png(folder / "train/ant/large.png", 8, 10, 1, noise_bytes(80));
  Bytes damaged = get(folder / "train/ant/large.png");
  damaged[damaged.size() - 20] ^= 1;  // in the pixels
  put(folder / "train/ant/large.png", damaged);
  check_mentions(error_of([&] { load_image_folder(folder.path(), {}); }), {"large.png", "8×10", "4×5"});
  // The test images', too, before a training image is.
  fs::rename(folder / "train/ant/large.png", folder / "test/ant/large.png");
  put_png(folder / "train/ant/broken.png", 4, 5, 1, noise_bytes(20));
  damaged = get(folder / "train/ant/broken.png");
  damaged[damaged.size() - 20] ^= 1;
  put(folder / "train/ant/broken.png", damaged);
  check_mentions(error_of([&] { load_image_folder(folder.path(), {}); }), {"test/ant/large.png", "8×10"});
}

TEST_CASE("limits take images of all classes") {
  const TemporaryFolder folder;
  for (const char* name : {"a", "b", "c", "d"})
    for (int i = 0; i < 5; ++i)
      for (const char* split : {"train", "test"})
        put_png(folder.path() / split / name / (std::to_string(i) + ".png"), 2, 2, 1, noise_bytes(4));
  ImageFolderOptions options;
  options.train_limit = 8;
  options.test_limit = 4;
  const auto [train, test] = load_image_folder(folder.path(), options);
  CHECK(train.labels == std::vector<int32_t>{0, 0, 1, 1, 2, 2, 3, 3});
  CHECK(test.labels == std::vector<int32_t>{0, 1, 2, 3});
  options.train_limit = 21;
  check_mentions(error_of([&] { load_image_folder(folder.path(), options); }), {"train", "21", "20"});
}

TEST_CASE("held-out images are of all classes, and neither trained on nor taken from the test folder") {
  const TemporaryFolder folder;
  for (const int label : {0, 1})
    for (int i = 0; i < 5; ++i)
      put_png(folder.path() / "train" / std::to_string(label) / (std::to_string(i) + ".png"), 1, 1, 1,
              {static_cast<uint8_t>(10 * label + i)});
  ImageFolderOptions options;
  options.holdout = 4;
  {
    const auto [train, test] = load_image_folder(folder.path(), options);
    CHECK(test.images == Bytes{0, 2, 10, 12});
    CHECK(test.labels == std::vector<int32_t>{0, 0, 1, 1});
    CHECK(train.images == Bytes{1, 3, 4, 11, 13, 14});
    CHECK(train.labels == std::vector<int32_t>{0, 0, 0, 1, 1, 1});
  }
  options.train_limit = options.test_limit = 2;
  const auto [train, test] = load_image_folder(folder.path(), options);
  CHECK(train.images == Bytes{1, 11});
  CHECK(test.images == Bytes{0, 10});
  options.holdout = 10;
  check_mentions(error_of([&] { load_image_folder(folder.path(), options); }), {"train", "holdout is 10", "to 9"});
}

TEST_CASE("bad folders and images are refused by name") {
  const TemporaryFolder folder;
  const auto message = [&] { return error_of([&] { load_image_folder(folder.path(), {}); }); };
  check_mentions(message(), {(folder / "train").string(), "not a folder"});
  fs::create_directories(folder / "train");
  check_mentions(message(), {(folder / "train").string(), "no class folders"});
  put_small_set(folder.path(), 1);
  fs::create_directories(folder / "train/zebra");
  check_mentions(message(), {(folder / "train/zebra").string(), "no images"});
  fs::remove(folder / "train/zebra");
  put_png(folder / "test/cow/a.png", 4, 5, 1, noise_bytes(20));
  check_mentions(message(), {(folder / "test/cow").string(), "cow", "training classes"});
  fs::remove_all(folder / "test/cow");
  put(folder / "train/ant/bad.png", std::string("no picture at all"));
  check_mentions(message(), {(folder / "train/ant/bad.png").string(), "cannot be decoded"});
  put(folder / "train/ant/bad.png", Bytes{});
  check_mentions(message(), {(folder / "train/ant/bad.png").string(), "empty"});
  Bytes cut = get(folder / "train/dog/b.png");
  cut.resize(cut.size() / 2);
  put(folder / "train/ant/bad.png", cut);
  check_mentions(message(), {(folder / "train/ant/bad.png").string(), "cannot be decoded"});
}

TEST_CASE("a contact sheet can be read back pixel by pixel") {
  const TemporaryFolder folder;
  put_small_set(folder / "set", 3);
  const Dataset set = load_image_folder(folder / "set", {}).train;
  write_contact_sheet(set, 2, 2, 2, folder / "sheet.png");
  fs::create_directories(folder / "sheets/train/one");
  fs::create_directories(folder / "sheets/test/one");
  fs::copy(folder / "sheet.png", folder / "sheets/train/one/sheet.png");
  fs::copy(folder / "sheet.png", folder / "sheets/test/one/sheet.png");
  const Dataset sheet = load_image_folder(folder / "sheets", {}).train;
  REQUIRE(sheet.height == 2 * (4 * 2 + 1) + 1);
  REQUIRE(sheet.width == 2 * (5 * 2 + 1) + 1);
  for (int64_t y = 0; y < sheet.height; ++y)
    for (int64_t x = 0; x < sheet.width; ++x)
      for (int64_t c = 0; c < 3; ++c) {
        const int64_t row = y / 9, column = x / 11, inside_y = y % 9 - 1, inside_x = x % 11 - 1;
        const int64_t index = row * 2 + column;
        const bool line = inside_y < 0 || inside_x < 0 || index >= 3 || row > 1 || column > 1;
        const uint8_t expected =
            line ? 128 : set.image(index)[static_cast<size_t>(((inside_y / 2) * 5 + inside_x / 2) * 3 + c)];
        REQUIRE(sheet.images[static_cast<size_t>((y * sheet.width + x) * 3 + c)] == expected);
      }
  check_mentions(error_of([&] { write_contact_sheet(set, 1, 1, 1, folder / "absent/sheet.png"); }), {"absent"});
  check_mentions(error_of([&] { write_contact_sheet(set, 0, 1, 1, folder / "sheet.png"); }), {"0 columns"});
}
