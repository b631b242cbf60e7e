#include <noisysgd/data/file.h>

#include <cstdlib>
#include <string>

#include <noisysgd/core/file.h>
#include <noisysgd/data/gzip.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {

std::vector<uint8_t> read_bytes(const std::filesystem::path& path) {
  const RandomAccessFile file(path);
  std::vector<uint8_t> bytes(file.size());
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

std::vector<uint8_t> read_maybe_gzip(const std::filesystem::path& path, uint64_t limit) {
  auto bytes = read_bytes(path);
  NSGD_CHECK(!bytes.empty(), "{}: the file is empty", path.string());
  return is_gzip(bytes) ? gunzip(bytes, limit, path.string()) : bytes;
}

void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  AtomicFile file(path);
  file.write(std::as_bytes(bytes));
  file.commit();
}

std::filesystem::path expand_home(const std::filesystem::path& path) {
  const std::string text = path.string();
  if (text != "~" && !text.starts_with("~/")) return path;
  const char* home = std::getenv("HOME");
  NSGD_CHECK(home != nullptr && *home != 0, "{}: the home folder is unknown, as HOME is not set", text);
  return home + text.substr(1);
}

}  // namespace noisysgd
