// Whole files in memory, plain or gzip; every error names the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace noisysgd {

// The bytes of the file as they lie on disk.
std::vector<uint8_t> read_bytes(const std::filesystem::path& path);

// The bytes of the file, decompressed if it starts like gzip (the content decides, not the name). Throws Error on a
// truncated or corrupt stream.
std::vector<uint8_t> read_maybe_gzip(const std::filesystem::path& path);

// Appears under its name only when complete (core/file.h).
void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

}  // namespace noisysgd
