// A picture of a data set: the first images side by side, as a PNG file.
#pragma once

#include <filesystem>

#include <noisysgd/data/dataset.h>

namespace noisysgd {

// `columns` × `rows` images (fewer if the set has fewer), each pixel enlarged to scale × scale, separated by grey lines
// of one pixel. Throws Error if the file cannot be written.
void write_contact_sheet(const Dataset& dataset, int columns, int rows, int scale, const std::filesystem::path& path);

}  // namespace noisysgd
