// Unpacks .tar.gz archives (POSIX ustar and GNU) of regular files and folders. A file appears under its name only when
// it is complete. Errors name the archive and the member: corrupt or truncated data, bad checksums, links, names that
// leave the destination or lead through a symbolic link.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace noisysgd {

struct TarEntry {
  std::string name;  // as stored in the archive: may be absolute or contain ".."
  bool folder = false;
  std::span<const uint8_t> content;
};

// Calls `visit` for every file and folder of a decompressed archive, in the archive's order.
void visit_tar(std::span<const uint8_t> bytes, const std::string& archive,
               const std::function<void(const TarEntry&)>& visit);

// Returns the files written, in the archive's order. Throws Error before anything is written if the archive unpacks to
// more than `limit` bytes, headers included.
std::vector<std::filesystem::path> unpack_tar_gz(const std::filesystem::path& archive,
                                                 const std::filesystem::path& destination, uint64_t limit);

}  // namespace noisysgd
