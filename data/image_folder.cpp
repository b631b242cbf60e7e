#include "data/image_folder.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string>

#include "core/file.h"
#include "data/file.h"
#include "data/image/image.h"
#include "data/resize.h"
#include "kernels/check.h"

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

struct LabelledFile {
  fs::path path;
  int32_t label;
};

// What file managers leave behind.
bool is_hidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') || name == "Thumbs.db" || name == "desktop.ini";
}

void check_link(const fs::directory_entry& entry) {
  NSGD_CHECK(!entry.is_symlink() || entry.exists(), "{}: is a link to something that is not there",
             entry.path().string());
}

// Nothing that looks like an image is passed over: it would be missing in the data set.
bool is_image(const fs::directory_entry& entry) {
  if (is_hidden(entry.path())) return false;
  check_link(entry);
  NSGD_CHECK(!entry.is_directory(), "{}: is a folder within a class; expected images only", entry.path().string());
  NSGD_CHECK(entry.is_regular_file(), "{}: is neither a file nor a folder", entry.path().string());
  if (is_image_name(entry.path())) return true;
  constexpr size_t kLongestSignature = 32;
  const RandomAccessFile file(entry.path());
  std::vector<uint8_t> first(std::min<size_t>(kLongestSignature, file.size()));
  file.read(0, std::as_writable_bytes(std::span(first)));
  NSGD_CHECK(!is_image_content(first), "{}: is an image, but its name does not end like that of one",
             entry.path().string());
  return false;
}

std::vector<std::string> folders_in(const fs::path& path) {
  NSGD_CHECK(fs::is_directory(path), "{}: is not a folder; expected {}/CLASS/IMAGE", path.string(), path.string());
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (is_hidden(entry.path())) continue;
    check_link(entry);
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  NSGD_CHECK(!names.empty(), "{}: holds no class folders; expected {}/CLASS/IMAGE", path.string(), path.string());
  return names;
}

std::vector<LabelledFile> list_split(const fs::path& split, const std::vector<std::string>& classes) {
  std::vector<LabelledFile> files;
  for (const auto& name : folders_in(split)) {
    const auto found = std::lower_bound(classes.begin(), classes.end(), name);
    NSGD_CHECK(found != classes.end() && *found == name, "{}: class \"{}\" does not occur among the training classes",
               (split / name).string(), name);
    const size_t first = files.size();
    for (const auto& entry : fs::directory_iterator(split / name))
      if (is_image(entry)) files.push_back({entry.path(), static_cast<int32_t>(found - classes.begin())});
    NSGD_CHECK(files.size() > first, "{}: holds no images (png, jpg, bmp, tga, pgm, ppm)", (split / name).string());
    std::sort(files.begin() + static_cast<int64_t>(first), files.end(),
              [](const auto& a, const auto& b) { return a.path < b.path; });
  }
  return files;
}

struct Choice {
  std::vector<LabelledFile> chosen, left;
};

// So many of the files, evenly spaced.
Choice choose(const std::vector<LabelledFile>& files, int64_t wanted) {
  Choice choice;
  const auto count = static_cast<int64_t>(files.size());
  for (int64_t i = 0, next = 0; i < count; ++i) {
    const bool chosen = next < wanted && i == next * count / wanted;
    next += chosen;
    (chosen ? choice.chosen : choice.left).push_back(files[static_cast<size_t>(i)]);
  }
  return choice;
}

std::vector<LabelledFile> limited(std::vector<LabelledFile> files, int64_t limit, const fs::path& split) {
  NSGD_CHECK(limit >= 0 && limit <= static_cast<int64_t>(files.size()),
             "{}: the limit of {} images is not within the {} that exist", split.string(), limit, files.size());
  return limit == 0 ? files : choose(files, limit).chosen;
}

// function(i) for every file, side by side; the first file's error of those that have one.
template <class Function>
void for_each_file(const std::vector<LabelledFile>& files, Function function) {
  std::vector<std::optional<std::string>> errors(files.size());
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < files.size(); ++i) {
    try {
      function(i);
    } catch (const std::exception& error) {
      errors[i] = error.what();
    }
  }
  for (const auto& error : errors)
    if (error) throw Error(*error);
}

// From the headers alone.
std::vector<ImageSize> sizes_of(const std::vector<LabelledFile>& files) {
  std::vector<ImageSize> sizes(files.size());
  for_each_file(files, [&](size_t i) { sizes[i] = image_size(read_bytes(files[i].path), files[i].path.string()); });
  return sizes;
}

// `shape` without images; `like`: the file that it is of.
Dataset decode_all(const std::vector<LabelledFile>& files, const std::vector<ImageSize>& sizes, const Dataset& shape,
                   const fs::path& like, bool resize) {
  for (size_t i = 0; i < files.size() && !resize; ++i)
    NSGD_CHECK(sizes[i].height == shape.height && sizes[i].width == shape.width,
               "{}: is {}×{} (height × width), but {} is {}×{}; give height and width to resize all images",
               files[i].path.string(), sizes[i].height, sizes[i].width, like.string(), shape.height, shape.width);
  Dataset dataset = shape;
  dataset.count = static_cast<int64_t>(files.size());
  dataset.images.resize(static_cast<size_t>(dataset.count * dataset.image_size()));
  for (const LabelledFile& file : files) dataset.labels.push_back(file.label);
  for_each_file(files, [&](size_t i) {
    Image image = decode_image(read_bytes(files[i].path), files[i].path.string(), shape.channels);
    const auto& [height, width, channels] = image.size;
    if (height != shape.height || width != shape.width)
      image.pixels = resize_image(image.pixels.data(), height, width, channels, shape.height, shape.width);
    std::copy(image.pixels.begin(), image.pixels.end(),
              dataset.images.begin() + static_cast<int64_t>(i) * dataset.image_size());
  });
  return dataset;
}

}  // namespace

DatasetPair load_image_folder(const fs::path& root, const ImageFolderOptions& options) {
  NSGD_CHECK((options.height > 0) == (options.width > 0) && options.height >= 0 && options.width >= 0,
             "image folder: height is {} and width is {}, expected both or neither", options.height, options.width);
  NSGD_CHECK(options.channels == 0 || options.channels == 1 || options.channels == 3,
             "image folder: channels is {}, expected 1 (grey), 3 (colour) or 0 (as the images are)", options.channels);
  const auto classes = folders_in(root / "train");
  Choice train{{}, list_split(root / "train", classes)};
  NSGD_CHECK(options.holdout >= 0 && options.holdout < static_cast<int64_t>(train.left.size()),
             "{}: holdout is {}, expected 0 (none) to {}", (root / "train").string(), options.holdout,
             train.left.size() - 1);
  if (options.holdout > 0) train = choose(train.left, options.holdout);
  const auto train_files = limited(std::move(train.left), options.train_limit, root / "train");
  const auto test_files = options.holdout > 0
                              ? limited(std::move(train.chosen), options.test_limit, root / "train")
                              : limited(list_split(root / "test", classes), options.test_limit, root / "test");

  const auto train_sizes = sizes_of(train_files);
  const bool resize = options.height > 0;
  const auto is_colour = [](const ImageSize& size) { return size.channels == 3; };
  Dataset shape;
  shape.name = root.filename().string();
  shape.height = resize ? options.height : train_sizes.front().height;
  shape.width = resize ? options.width : train_sizes.front().width;
  shape.channels = options.channels > 0                                             ? options.channels
                   : std::any_of(train_sizes.begin(), train_sizes.end(), is_colour) ? 3
                                                                                    : 1;
  shape.classes = static_cast<int64_t>(classes.size());
  shape.class_names = classes;
  const auto& like = train_files.front().path;
  DatasetPair pair;
  pair.train = decode_all(train_files, train_sizes, shape, like, resize);
  pair.test = decode_all(test_files, sizes_of(test_files), shape, like, resize);
  return pair;
}

}  // namespace noisysgd
