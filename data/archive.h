// Unpacks .tar.gz archives (POSIX ustar and GNU): regular files and folders. Each file appears under its name only when
// whole. Errors name the archive and the member: corrupt or truncated data, bad checksums, links, names that leave the
// destination.
#pragma once

#include <filesystem>
#include <vector>

namespace noisysgd {

// The files written, in the archive's order.
std::vector<std::filesystem::path> unpack_tar_gz(const std::filesystem::path& archive,
                                                 const std::filesystem::path& destination);

}  // namespace noisysgd
