// Unpacks .tar.gz archives (POSIX ustar and GNU): regular files and folders. Each file appears under its name only when
// whole. Errors name the archive and the member: corrupt or truncated data, bad checksums, links, names that leave the
// destination or lead through a symbolic link.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace noisysgd {

struct TarEntry {
  std::string name;  // as the archive has it: it may be absolute or lead upwards
  bool folder = false;
  std::span<const uint8_t> content;
};

// Calls `visit` for every file and folder of an unpacked archive, in its order.
void visit_tar(std::span<const uint8_t> bytes, const std::string& archive,
               const std::function<void(const TarEntry&)>& visit);

// The files written, in the archive's order. An archive that unpacks to more than `limit` bytes, headers included, is
// an Error before anything is written.
std::vector<std::filesystem::path> unpack_tar_gz(const std::filesystem::path& archive,
                                                 const std::filesystem::path& destination, uint64_t limit);

}  // namespace noisysgd
