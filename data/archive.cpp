#include <noisysgd/data/archive.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <string>

#include <noisysgd/core/file.h>
#include <noisysgd/data/file.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlock = 512;

std::string text_field(std::span<const uint8_t> header, size_t offset, size_t length) {
  const auto* begin = reinterpret_cast<const char*>(header.data() + offset);
  return {begin, strnlen(begin, length)};
}

// Cannot overflow: a field has at most 12 octal digits, which are 36 bits.
std::optional<uint64_t> octal_field(std::span<const uint8_t> header, size_t offset, size_t length) {
  std::string digits = text_field(header, offset, length);
  digits.erase(std::remove(digits.begin(), digits.end(), ' '), digits.end());
  uint64_t value = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '7') return std::nullopt;
    value = value * 8 + static_cast<uint64_t>(digit - '0');
  }
  return value;
}

bool checksum_matches(std::span<const uint8_t> header) {
  constexpr size_t kOffset = 148, kLength = 8;  // the checksum field itself counts as spaces
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) sum += i >= kOffset && i < kOffset + kLength ? ' ' : header[i];
  return octal_field(header, kOffset, kLength) == sum;
}

std::string member_name(std::span<const uint8_t> header) {
  const std::string name = text_field(header, 0, 100);
  const bool ustar = text_field(header, 257, 5) == "ustar";
  const std::string prefix = ustar && header[262] == 0 ? text_field(header, 345, 155) : "";
  return prefix.empty() ? name : prefix + "/" + name;
}

// The path of a member below `destination`. Throws Error if it leaves `destination`, or if any part of it is a symbolic
// link, which could lead anywhere.
fs::path safe_path(const fs::path& destination, const std::string& name, const fs::path& archive) {
  const fs::path relative = fs::path(name).lexically_normal();
  NSGD_CHECK(!relative.empty() && relative.is_relative() && *relative.begin() != "..",
             "{}: member \"{}\" would be written outside {}", archive.string(), name, destination.string());
  fs::path path = destination;
  for (const auto& part : relative) {
    path /= part;
    std::error_code error;
    NSGD_CHECK(!fs::is_symlink(fs::symlink_status(path, error)),
               "{}: member \"{}\" would be written through the symbolic link {}", archive.string(), name,
               path.string());
  }
  return path;
}

}  // namespace

void visit_tar(std::span<const uint8_t> all, const std::string& archive,
               const std::function<void(const TarEntry&)>& visit) {
  for (size_t at = 0;;) {
    NSGD_CHECK(kBlock <= all.size() - at, "{}: the archive ends at byte {} without its end mark", archive, all.size());
    const auto header = all.subspan(at, kBlock);
    if (std::all_of(header.begin(), header.end(), [](uint8_t byte) { return byte == 0; })) return;
    NSGD_CHECK(checksum_matches(header), "{}: the header at byte {} has a wrong checksum", archive, at);
    const std::string name = member_name(header);
    const auto size = octal_field(header, 124, 12);
    const size_t rest = all.size() - at - kBlock;
    NSGD_CHECK(size, "{}: member \"{}\" has a size that is no octal number", archive, name);
    NSGD_CHECK(*size <= rest, "{}: member \"{}\" is truncated: {} bytes, of which {} are missing", archive, name, *size,
               *size - rest);
    const char type = static_cast<char>(header[156]);
    if (type == '0' || type == 0) {
      visit({name, false, all.subspan(at + kBlock, *size)});
    } else if (type == '5') {
      visit({name, true, {}});
    } else {
      // 'x' and 'g' are pax headers, which only annotate members. Any other type is an Error, or it would be lost
      // silently.
      NSGD_CHECK(type == 'x' || type == 'g', "{}: member \"{}\" has type '{}', expected a file or a folder", archive,
                 name, type);
    }
    // The padding of the last block may be missing.
    at += kBlock + std::min<size_t>(rest, (*size + kBlock - 1) / kBlock * kBlock);
  }
}

std::vector<fs::path> unpack_tar_gz(const fs::path& archive, const fs::path& destination, uint64_t limit) {
  const auto bytes = read_maybe_gzip(archive, limit);
  std::vector<fs::path> written;
  visit_tar(bytes, archive.string(), [&](const TarEntry& member) {
    const fs::path path = safe_path(destination, member.name, archive);
    if (member.folder) {
      make_folder(path);
      return;
    }
    make_folder(path.parent_path());
    write_file(path, member.content);
    written.push_back(path);
  });
  return written;
}

}  // namespace noisysgd
