// Whole files in memory, plain or gzip; every error names the path.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace noisysgd {

// The bytes of the file as they lie on disk.
std::vector<uint8_t> read_bytes(const std::filesystem::path& path);

// The bytes of the file, unpacked if it starts like gzip (the content decides, not the name): to at most `limit` bytes.
// Throws Error on a stream that is truncated, corrupt or longer.
std::vector<uint8_t> read_maybe_gzip(const std::filesystem::path& path, uint64_t limit);

// Appears under its name only when complete (core/file.h).
void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

// "~" and "~/…" by the home folder, as a shell has them; every other path as it is.
std::filesystem::path expand_home(const std::filesystem::path& path);

}  // namespace noisysgd
