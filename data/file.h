// Reads and writes whole files. Every error names the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace noisysgd {

// The bytes of the file as stored on disk.
std::vector<uint8_t> read_bytes(const std::filesystem::path& path);

// The bytes of the file, decompressed if they are gzip data (recognised by the content, not the name). Throws Error if
// the gzip data are truncated or corrupt, or decompress to more than `limit` bytes, and for an empty file.
std::vector<uint8_t> read_maybe_gzip(const std::filesystem::path& path, uint64_t limit);

// The file appears under its name only when it is complete (core/file.h).
void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

// Replaces the "~" of "~" and "~/…" by the home folder, as a shell does. Returns every other path unchanged. Throws
// Error if HOME is not set.
std::filesystem::path expand_home(const std::filesystem::path& path);

}  // namespace noisysgd
