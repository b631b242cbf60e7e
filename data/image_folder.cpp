#include <noisysgd/data/image_folder.h>

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <span>
#include <string>

#include <noisysgd/core/file.h>
#include <noisysgd/data/file.h>
#include <noisysgd/data/image/image.h>
#include <noisysgd/data/resize.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

struct LabelledFile {
  fs::path path;
  int32_t label;
};

// Collects the problems of all files, so one message can name the first file and count the others. A file that looks
// like an image but cannot be used is a problem: skipping it would change the data set silently.
class Problems {
 public:
  void add(const fs::path& path, const std::string& text) { lines_.push_back(path.string() + ": " + text); }
  void throw_if_any() {
    if (lines_.empty()) return;
    std::sort(lines_.begin(), lines_.end());  // directories are listed in any order
    throw_first(lines_);
  }
  static void throw_first(const std::vector<std::string>& lines) {
    const size_t others = lines.size() - 1;
    throw Error(lines.front() +
                (others > 0 ? fmt::format(" (and {} more file{} with an error)", others, others == 1 ? "" : "s") : ""));
  }

 private:
  std::vector<std::string> lines_;
};

// Hidden files, and files that file managers create.
bool is_hidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') || name == "Thumbs.db" || name == "desktop.ini";
}

bool is_image(const fs::path& path) {
  if (is_image_name(path)) return true;
  constexpr size_t kLongestSignature = 32;
  const RandomAccessFile file(path);
  std::vector<uint8_t> first(std::min<size_t>(kLongestSignature, file.size()));
  file.read(0, std::as_writable_bytes(std::span(first)));
  return is_image_content(first);
}

// The names of the class folders of a split, sorted.
std::vector<std::string> folders_in(const fs::path& split) {
  NSGD_CHECK(fs::is_directory(split), "{}: is not a folder; expected {}/CLASS/IMAGE", split.string(), split.string());
  std::vector<std::string> names;
  Problems problems;
  for (const auto& entry : fs::directory_iterator(split)) {
    if (is_hidden(entry.path())) continue;
    std::error_code error;
    if (entry.is_directory(error)) {
      names.push_back(entry.path().filename().string());
    } else if (entry.is_symlink() && !entry.exists(error)) {
      problems.add(entry.path(), "is a link to something that is not there");
    } else if (entry.is_regular_file(error) && is_image(entry.path())) {
      problems.add(entry.path(), "is an image outside the class folders");
    }
  }
  problems.throw_if_any();
  std::sort(names.begin(), names.end());
  NSGD_CHECK(!names.empty(), "{}: holds no class folders; expected {}/CLASS/IMAGE", split.string(), split.string());
  return names;
}

std::vector<fs::path> images_in(const fs::path& folder, Problems& problems) {
  std::vector<fs::path> images;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_hidden(entry.path())) continue;
    std::error_code error;
    if (entry.is_regular_file(error)) {
      if (!is_image(entry.path())) continue;
      if (!is_image_name(entry.path()))
        problems.add(entry.path(), "is an image, but its name has no extension of an image");
      images.push_back(entry.path());
    } else if (entry.is_directory(error)) {
      problems.add(entry.path(), "is a folder within a class; expected images only");
    } else {
      problems.add(entry.path(),
                   entry.exists(error) ? "is neither a file nor a folder" : "is a link to something that is not there");
    }
  }
  std::sort(images.begin(), images.end());
  return images;
}

std::vector<LabelledFile> list_split(const fs::path& split, const std::vector<std::string>& classes) {
  std::vector<LabelledFile> files;
  Problems problems;
  for (const auto& name : folders_in(split)) {
    const auto found = std::lower_bound(classes.begin(), classes.end(), name);
    NSGD_CHECK(found != classes.end() && *found == name, "{}: class \"{}\" does not occur among the training classes",
               (split / name).string(), name);
    const auto images = images_in(split / name, problems);
    if (images.empty()) problems.add(split / name, "holds no images (PNG, JPEG, BMP, TGA, PGM, PPM)");
    for (const auto& path : images) files.push_back({path, static_cast<int32_t>(found - classes.begin())});
  }
  problems.throw_if_any();
  return files;
}

struct Choice {
  std::vector<LabelledFile> chosen, left;
};

// Chooses `wanted` of the files, evenly spaced.
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

// Runs `work` for every file. Throws the first file's error, in the files' order, and counts the others.
void for_each_file(const std::vector<LabelledFile>& files, const std::function<void(size_t)>& work) {
  std::vector<std::string> errors(files.size());
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < files.size(); ++i) {
    try {
      work(i);
    } catch (const std::exception& error) {
      errors[i] = error.what();
    }
  }
  std::erase(errors, "");
  if (!errors.empty()) Problems::throw_first(errors);
}

std::vector<ImageSize> read_sizes(const std::vector<LabelledFile>& files) {
  std::vector<ImageSize> sizes(files.size());
  for_each_file(files, [&](size_t i) { sizes[i] = image_size(read_bytes(files[i].path), files[i].path.string()); });
  return sizes;
}

void check_sizes(const std::vector<LabelledFile>& files, const std::vector<ImageSize>& sizes, const Dataset& shape,
                 const fs::path& like) {
  std::vector<std::string> errors;
  for (size_t i = 0; i < files.size(); ++i)
    if (sizes[i].height != shape.height || sizes[i].width != shape.width)
      errors.push_back(fmt::format(
          "{}: is {}×{} (height × width), but {} is {}×{}; give height and width to resize all images",
          files[i].path.string(), sizes[i].height, sizes[i].width, like.string(), shape.height, shape.width));
  if (!errors.empty()) Problems::throw_first(errors);
}

// Returns `shape` with the decoded images and the labels.
Dataset decode_all(const std::vector<LabelledFile>& files, const Dataset& shape) {
  Dataset dataset = shape;
  dataset.count = static_cast<int64_t>(files.size());
  for (const auto& file : files) dataset.labels.push_back(file.label);
  dataset.images.resize(static_cast<size_t>(dataset.count * dataset.image_size()));
  for_each_file(files, [&](size_t i) {
    const std::string name = files[i].path.string();
    Image image = decode_image(read_bytes(files[i].path), name, shape.channels);
    if (image.size.height != shape.height || image.size.width != shape.width)
      image.pixels = resize_image(image.pixels.data(), image.size.height, image.size.width, shape.channels,
                                  shape.height, shape.width);
    std::copy(image.pixels.begin(), image.pixels.end(),
              dataset.images.begin() + static_cast<int64_t>(i) * shape.image_size());
  });
  return dataset;
}

}  // namespace

DatasetPair load_image_folder(const fs::path& root, const ImageFolderOptions& options) {
  NSGD_CHECK((options.height > 0) == (options.width > 0) && options.height >= 0 && options.width >= 0,
             "image folder: height is {} and width is {}, expected both or neither", options.height, options.width);
  NSGD_CHECK(options.width == 0 || options.height <= largest_image / options.width,
             "image folder: {}×{} (height × width) are more than {} pixels", options.height, options.width,
             largest_image);
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

  const auto train_sizes = read_sizes(train_files), test_sizes = read_sizes(test_files);
  const bool colour =
      std::any_of(train_sizes.begin(), train_sizes.end(), [](auto& size) { return size.channels == 3; });
  const bool resizes = options.height > 0;
  const auto& like = train_files.front().path;
  Dataset shape;
  shape.name = root.filename().string();
  shape.height = resizes ? options.height : train_sizes.front().height;
  shape.width = resizes ? options.width : train_sizes.front().width;
  shape.channels = options.channels > 0 ? options.channels : colour ? 3 : 1;
  shape.classes = static_cast<int64_t>(classes.size());
  shape.class_names = classes;
  if (!resizes) {
    check_sizes(train_files, train_sizes, shape, like);
    check_sizes(test_files, test_sizes, shape, like);
  }
  return {decode_all(train_files, shape), decode_all(test_files, shape)};
}

}  // namespace noisysgd
