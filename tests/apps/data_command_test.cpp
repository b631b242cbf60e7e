// The program noisysgd-data on existing files: its output and its exit status.
#include "tests/apps/command.h"
#include "tests/data/bytes.h"

using namespace noisysgd::test;
using namespace noisysgd::testing;

namespace {

CommandResult run(const std::vector<std::string>& arguments, const TemporaryFolder& folder) {
  return Command(NSGD_DATA_PROGRAM, arguments, folder.path()).wait();
}

// Three training and two test images of 2x2, under MNIST's names.
void put_small_mnist(const std::filesystem::path& folder) {
  put(folder / "train-images-idx3-ubyte", idx_bytes({3, 2, 2}, noise_bytes(12, 1)));
  put(folder / "train-labels-idx1-ubyte", idx_bytes({3}, {0, 1, 9}));
  put(folder / "t10k-images-idx3-ubyte", idx_bytes({2, 2, 2}, noise_bytes(8, 2)));
  put(folder / "t10k-labels-idx1-ubyte", idx_bytes({2}, {1, 0}));
}

}  // namespace

TEST_CASE("verify reports the contents of a data set and the wrong files of a published one") {
  const TemporaryFolder folder;
  put_small_mnist(folder / "mnist");
  const CommandResult own = run({"verify", "idx", "--root", "mnist"}, folder);
  CHECK(own.status == 0);
  check_mentions(own.output, {"idx training images: 3 images of 2×2×1", "10 classes of 0 to 1 images",
                              "idx test images: 2 images of 2×2×1", "classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\n"});
  CHECK(own.error.empty());

  const CommandResult published = run({"verify", "mnist", "--root", "."}, folder);
  CHECK(published.status == 1);
  check_mentions(published.output,
                 {"./mnist/train-images-idx3-ubyte: WRONG: 28 uncompressed bytes, expected 47040016",
                  "./mnist/t10k-labels-idx1-ubyte: WRONG: 10 uncompressed bytes, expected 10008", "3 images of 2×2×1"});
  CHECK(published.error == "noisysgd-data: mnist: files differ from the published ones (listed above)\n");
}

TEST_CASE("preview writes a picture of the requested number of images") {
  const TemporaryFolder folder;
  const CommandResult result =
      run({"preview", "synthetic", "--columns", "2", "--rows", "3", "--scale", "1", "--output", "sheet.png"}, folder);
  CHECK(result.status == 0);
  CHECK(result.output == "sheet.png\n");
  const Bytes png = get(folder / "sheet.png");
  REQUIRE(png.size() > 24);
  // Width and height: images of 28 pixels with a line around each.
  CHECK(Bytes(png.begin() + 16, png.begin() + 24) == Bytes{0, 0, 0, 2 * 29 + 1, 0, 0, 0, 3 * 29 + 1});

  const auto again = [&](const char* output) { return run({"preview", "synthetic", "--output", output}, folder); };
  CHECK(again("sheet.png").status == 0);  // replaces a picture, and nothing else
  std::ofstream(folder / "notes.txt") << "mine";
  CHECK(again("notes.txt").error ==
        "noisysgd-data: notes.txt: is there and is not a PNG picture; it is not replaced\n");
  CHECK(noisysgd::read_file(folder / "notes.txt") == "mine");
}

TEST_CASE("a picture that cannot be written is reported before the images are read") {
  const TemporaryFolder folder;
  const CommandResult result = run({"preview", "idx", "--root", "absent", "--output", "nowhere/sheet.png"}, folder);
  CHECK(result.status == 1);
  CHECK(result.error == "noisysgd-data: cannot write nowhere/sheet.png: No such file or directory\n");
}

TEST_CASE("a data set without a published source cannot be fetched") {
  const TemporaryFolder folder;
  const CommandResult result = run({"fetch", "imagenet"}, folder);
  CHECK(result.status != 0);
  check_mentions(result.error, {"imagenet", "mnist", "cifar100"});
  CHECK_FALSE(std::filesystem::exists(folder / "datasets"));
}

TEST_CASE("options may come before the name") {
  const TemporaryFolder folder;
  put_small_mnist(folder / "mnist");
  put(folder / "data", std::string("a file in the way, so that nothing is fetched"));
  const CommandResult fetched = run({"fetch", "--mirror", "file:///nowhere/", "mnist", "--root", "data"}, folder);
  check_mentions(fetched.error, {"noisysgd-data: data/mnist: cannot be made"});
  const CommandResult verified = run({"verify", "--root", ".", "idx"}, folder);
  check_mentions(verified.error, {"idx: missing train-images-idx3-ubyte.gz"});
  CHECK(run({"verify", "--root", "mnist", "idx"}, folder).status == 0);
}

TEST_CASE("a size that is out of range is refused with its option") {
  const TemporaryFolder folder;
  const CommandResult result = run({"verify", "image_folder", "--height", "4294967296", "--width", "32"}, folder);
  CHECK(result.status != 0);
  check_mentions(result.error, {"--height", "4294967296", "4096"});
}

TEST_CASE("an option that the data set does not have is refused before its files are read") {
  const TemporaryFolder folder;
  const CommandResult result = run({"verify", "mnist", "--height", "32"}, folder);
  CHECK(result.status == 1);
  CHECK(result.output.empty());
  check_mentions(result.error, {"options of mnist", "$.height: unknown key"});
}
