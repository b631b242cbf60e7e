// Reads the IDX format of MNIST and Fashion-MNIST: two zero bytes, the type (8: uint8), the number of dimensions, then
// the dimensions (32 bits each, big-endian) and the values. Files may be plain or gzip.
// Errors name the file and the values: magic, type, dimensions, size, different numbers of images and labels, labels
// out of range.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <noisysgd/data/dataset.h>

namespace noisysgd {

struct IdxArray {
  std::string name;  // of the file, for messages
  std::vector<int64_t> shape;
  std::vector<uint8_t> values;
};

// Parses plain or gzip bytes. Gzip data are decompressed only up to the size that the header states.
IdxArray parse_idx(std::span<const uint8_t> bytes, const std::string& name);

IdxArray read_idx(const std::filesystem::path& path);
// Reads the first of several copies of a file that is valid. If none is, the Error gives the reason for each.
IdxArray read_idx(std::span<const std::filesystem::path> copies);

// Images [N,H,W] or [N,H,W,C] and labels [N]. `classes` 0: one more than the largest label.
Dataset idx_dataset(IdxArray images, const IdxArray& labels, int64_t classes = 0);
Dataset load_idx(const std::filesystem::path& images, const std::filesystem::path& labels, int64_t classes = 0);

}  // namespace noisysgd
