// A labelled set of images in memory: uint8 pixels in NHWC order, one label per image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace noisysgd {

struct Dataset {
  std::string name = {};
  int64_t count = 0, height = 0, width = 0, channels = 0;
  int64_t classes = 0;
  std::vector<uint8_t> images = {};           // [N,H,W,C]
  std::vector<int32_t> labels = {};           // [N], in [0, classes)
  std::vector<std::string> class_names = {};  // [classes]

  int64_t image_size() const { return height * width * channels; }
  std::span<const uint8_t> image(int64_t index) const {
    return {images.data() + index * image_size(), static_cast<size_t>(image_size())};
  }
};

struct DatasetPair {
  Dataset train, test;
};

}  // namespace noisysgd
