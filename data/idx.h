// The IDX format of MNIST, Fashion-MNIST and their relatives: two bytes 0, type (8: uint8), number of dimensions, then
// big-endian 32-bit dimensions and the values. Files may be plain or gzip.
// Errors name the file and the values: magic, type, dimensions, size, counts that differ, labels out of range.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/dataset.h"

namespace noisysgd {

struct IdxArray {
  std::vector<int64_t> shape;
  std::vector<uint8_t> values;
};

IdxArray read_idx(const std::filesystem::path& path);

// Images [N,H,W] or [N,H,W,C] and labels [N]. `classes` 0: one more than the largest label.
Dataset load_idx(const std::filesystem::path& images, const std::filesystem::path& labels, int64_t classes = 0);

}  // namespace noisysgd
