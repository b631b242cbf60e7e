// Reads the binary versions of CIFAR-10 and CIFAR-100. A record is one label byte (CIFAR-100: a coarse label, then the
// fine label, which is used) and 3072 bytes: the red, green and blue planes of a 32×32 image. Images become NHWC.
// Errors name the file and the values: a size that is no multiple of a record, labels out of range, a wrong number of
// class names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <noisysgd/data/dataset.h>

namespace noisysgd {

enum class CifarVersion { cifar10, cifar100 };

// Appends the records of one file to a data set of that version.
void append_cifar(Dataset& dataset, CifarVersion version, std::span<const uint8_t> records, const std::string& name);
Dataset empty_cifar(CifarVersion version);

// Reads the files of one split, in order, into one data set.
Dataset load_cifar(CifarVersion version, const std::vector<std::filesystem::path>& files);

// batches.meta.txt or fine_label_names.txt: one class per line. Blank lines are ignored.
std::vector<std::string> read_class_names(const std::filesystem::path& path, int64_t classes);

}  // namespace noisysgd
