// Folders of images, ROOT/train/CLASS/*.png and ROOT/test/CLASS/* (formats: data/image/image.h), in sorted order. The
// classes are the folders of train; test may lack some, but not add any. All images have one size, unless height and
// width are given: then others are resized (data/resize.h). Every header is read before an image is decoded. Errors name
// the first file and count the others: corrupt images or formats that are not read, sizes that differ, images outside
// the classes, folders within a class, links to nothing, unknown or empty classes.
#pragma once

#include <cstdint>
#include <filesystem>

#include <noisysgd/data/dataset.h>

namespace noisysgd {

struct ImageFolderOptions {
  int64_t height = 0, width = 0;  // both or neither
  int64_t channels = 0;           // 1 grey, 3 colour, 0: 1 if every training image is grey, else 3
  // Keep this many images, spread evenly over the classes; 0 keeps all.
  int64_t train_limit = 0, test_limit = 0;
  // Take this many out of train, spread evenly over the classes, as the test images; folder test is not looked at.
  int64_t holdout = 0;
};

DatasetPair load_image_folder(const std::filesystem::path& root, const ImageFolderOptions& options);

}  // namespace noisysgd
