// The IDX format of MNIST, Fashion-MNIST and their relatives: two bytes 0, type (8: uint8), number of dimensions, then
// big-endian 32-bit dimensions and the values. Files may be plain or gzip.
// Errors name the file and the values: magic, type, dimensions, size, counts that differ, labels out of range.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <noisysgd/data/dataset.h>

namespace noisysgd {

struct IdxArray {
  std::string name;  // of its file, for messages
  std::vector<int64_t> shape;
  std::vector<uint8_t> values;
};

// Plain or gzip bytes. Gzip is unpacked as far as the header says, not further.
IdxArray parse_idx(std::span<const uint8_t> bytes, const std::string& name);

IdxArray read_idx(const std::filesystem::path& path);
// Copies of one file: the first that is whole. If none is, the Error says of each why.
IdxArray read_idx(std::span<const std::filesystem::path> copies);

// Images [N,H,W] or [N,H,W,C] and labels [N]. `classes` 0: one more than the largest label.
Dataset idx_dataset(IdxArray images, const IdxArray& labels, int64_t classes = 0);
Dataset load_idx(const std::filesystem::path& images, const std::filesystem::path& labels, int64_t classes = 0);

}  // namespace noisysgd
