// Loads folders of images, ROOT/train/CLASS/IMAGE and ROOT/test/CLASS/IMAGE (formats: data/image/image.h), in sorted
// order. The classes are the folders in train; test may lack some, but not add any. All images must have one size,
// unless height and width are given: images of another size are then resized (data/resize.h). All headers are read
// before any image is decoded. Errors name the first file and count the others: corrupt images, formats that are not
// supported, different sizes, images outside the class folders, folders within a class, broken links, unknown or empty
// classes.
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
  // Use this many images of train, spread evenly over the classes, as the test images. The folder test is then not
  // read.
  int64_t holdout = 0;
};

DatasetPair load_image_folder(const std::filesystem::path& root, const ImageFolderOptions& options);

}  // namespace noisysgd
