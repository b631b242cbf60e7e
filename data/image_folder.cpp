#include "data/image_folder.h"

#include <stb_image.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <string>

#include "data/file.h"
#include "kernels/check.h"

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

struct LabelledFile {
  fs::path path;
  int32_t label;
};

bool is_image(const fs::directory_entry& entry) {
  static constexpr std::array kExtensions{".png", ".jpg", ".jpeg", ".bmp", ".tga", ".pgm", ".ppm"};
  if (!entry.is_regular_file() || entry.path().filename().string().starts_with('.')) return false;
  std::string extension = entry.path().extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

std::vector<std::string> folders_in(const fs::path& path) {
  NSGD_CHECK(fs::is_directory(path), "{}: is not a folder; expected {}/CLASS/IMAGE", path.string(), path.string());
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_directory() && !entry.path().filename().string().starts_with('.'))
      names.push_back(entry.path().filename().string());
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
    NSGD_CHECK(files.size() > first, "{}: holds no images (png, jpg, jpeg, bmp, tga, pgm, ppm)",
               (split / name).string());
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

// All channels of colour images are kept until every file is seen, so each file is decoded once.
struct DecodedImage {
  std::vector<uint8_t> pixels;  // [H,W,C]
  int64_t height = 0, width = 0, channels = 0;
};

DecodedImage decode(const fs::path& path, int64_t wanted_channels) {
  const auto bytes = read_bytes(path);
  NSGD_CHECK(!bytes.empty(), "{}: the file is empty", path.string());
  int width = 0, height = 0, present = 0;
  if (wanted_channels == 0) {
    stbi_info_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &present);
    wanted_channels = present <= 2 ? 1 : 3;  // 2 and 4 have transparency, which is dropped
  }
  const std::unique_ptr<uint8_t, decltype(&stbi_image_free)> pixels(
      stbi_load_from_memory(bytes.data(), static_cast<int>(bytes.size()), &width, &height, &present,
                            static_cast<int>(wanted_channels)),
      stbi_image_free);
  NSGD_CHECK(pixels != nullptr, "{}: cannot be decoded: {}", path.string(), stbi_failure_reason());
  return {{pixels.get(), pixels.get() + int64_t{width} * height * wanted_channels}, height, width, wanted_channels};
}

std::vector<DecodedImage> decode_all(const std::vector<LabelledFile>& files, const ImageFolderOptions& options,
                                     int64_t channels) {
  std::vector<DecodedImage> images(files.size());
  std::vector<std::optional<std::string>> errors(files.size());
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < files.size(); ++i) {
    try {
      auto image = decode(files[i].path, channels);
      if (options.height > 0 && (image.height != options.height || image.width != options.width)) {
        image.pixels = resize_bilinear(image.pixels.data(), image.height, image.width, image.channels, options.height,
                                       options.width);
        image.height = options.height, image.width = options.width;
      }
      images[i] = std::move(image);
    } catch (const std::exception& error) {
      errors[i] = error.what();
    }
  }
  for (const auto& error : errors)
    if (error) throw Error(*error);
  return images;
}

Dataset assemble(const std::vector<LabelledFile>& files, std::vector<DecodedImage> images, const Dataset& shape,
                 const fs::path& like) {
  Dataset dataset = shape;
  dataset.count = static_cast<int64_t>(files.size());
  dataset.images.reserve(static_cast<size_t>(dataset.count * dataset.image_size()));
  for (size_t i = 0; i < files.size(); ++i) {
    const auto& image = images[i];
    NSGD_CHECK(image.height == shape.height && image.width == shape.width,
               "{}: is {}×{} (height × width), but {} is {}×{}; give height and width to resize all images",
               files[i].path.string(), image.height, image.width, like.string(), shape.height, shape.width);
    for (size_t p = 0; p < image.pixels.size(); p += static_cast<size_t>(image.channels))
      for (int64_t c = 0; c < shape.channels; ++c)  // a grey image among colour ones repeats its channel
        dataset.images.push_back(image.pixels[p + static_cast<size_t>(image.channels == 1 ? 0 : c)]);
    dataset.labels.push_back(files[i].label);
    images[i] = {};
  }
  return dataset;
}

}  // namespace

std::vector<uint8_t> resize_bilinear(const uint8_t* image, int64_t H, int64_t W, int64_t C, int64_t height,
                                     int64_t width) {
  struct Taps {
    int64_t low, high;
    double weight;  // of high
  };
  const auto taps = [](int64_t at, int64_t from, int64_t to) {
    const double centre = (static_cast<double>(at) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
    const double position = std::clamp(centre, 0.0, static_cast<double>(from - 1));
    const auto low = static_cast<int64_t>(position);
    return Taps{low, std::min(low + 1, from - 1), position - static_cast<double>(low)};
  };
  std::vector<uint8_t> resized(static_cast<size_t>(height * width * C));
  for (int64_t y = 0; y < height; ++y) {
    const Taps row = taps(y, H, height);
    for (int64_t x = 0; x < width; ++x) {
      const Taps column = taps(x, W, width);
      for (int64_t c = 0; c < C; ++c) {
        const auto at = [&](int64_t source_y, int64_t source_x) {
          return static_cast<double>(image[(source_y * W + source_x) * C + c]);
        };
        const double above = std::lerp(at(row.low, column.low), at(row.low, column.high), column.weight);
        const double below = std::lerp(at(row.high, column.low), at(row.high, column.high), column.weight);
        resized[static_cast<size_t>((y * width + x) * C + c)] =
            static_cast<uint8_t>(std::lround(std::lerp(above, below, row.weight)));
      }
    }
  }
  return resized;
}

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

  auto train_images = decode_all(train_files, options, options.channels);
  const bool colour =
      std::any_of(train_images.begin(), train_images.end(), [](auto& image) { return image.channels == 3; });
  Dataset shape;
  shape.name = root.filename().string();
  shape.height = train_images.front().height;
  shape.width = train_images.front().width;
  shape.channels = colour ? 3 : 1;
  shape.classes = static_cast<int64_t>(classes.size());
  shape.class_names = classes;
  DatasetPair pair;
  const auto& like = train_files.front().path;
  pair.train = assemble(train_files, std::move(train_images), shape, like);
  pair.test = assemble(test_files, decode_all(test_files, options, shape.channels), shape, like);
  return pair;
}

}  // namespace noisysgd
