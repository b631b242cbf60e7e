// The logits of an evaluation as a file: NumPy's format, or CSV.
#pragma once

#include <filesystem>

#include <noisysgd/apps/eval/evaluation.h>

namespace noisysgd {

// For a check before the evaluation. Throws Error for a name that ends with neither .npy nor .csv, and for a file that
// is there and is no such file.
void check_logits_file(const std::filesystem::path& path);

// Writes the kept logits of all images in their stored order. .npy: a float32 array [images, classes]. .csv: columns
// index, label, logit_0, logit_1, …; the digits give the same floats back. The file appears when it is complete.
void write_logits(const std::filesystem::path& path, const Evaluation& evaluation);

}  // namespace noisysgd
