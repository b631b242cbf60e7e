// The binary versions of CIFAR-10 and CIFAR-100: records of one label (CIFAR-100: coarse, then fine; the fine one
// counts) and 3072 bytes, planes red, green, blue of 32×32; they become NHWC here. Errors name the file and the values:
// sizes that are no multiple of a record, labels out of range, class names.
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

// The files of one split one after another.
Dataset load_cifar(CifarVersion version, const std::vector<std::filesystem::path>& files);

// batches.meta.txt or fine_label_names.txt: one class per line, blank lines at the end ignored.
std::vector<std::string> read_class_names(const std::filesystem::path& path, int64_t classes);

}  // namespace noisysgd
