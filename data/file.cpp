#include "data/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/check.h"

namespace noisysgd {
namespace {

class FileDescriptor {
 public:
  FileDescriptor(const std::filesystem::path& path, int flags)
      : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    NSGD_CHECK(descriptor_ >= 0, "{}: cannot be opened: {}", path.string(), std::strerror(errno));
  }
  ~FileDescriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return descriptor_; }
  int release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_;
};

struct Inflater {
  z_stream stream{};
  // 15 bits of window, 16: gzip framing
  Inflater() { NSGD_CHECK(inflateInit2(&stream, 15 + 16) == Z_OK, "zlib: cannot start decompression"); }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

std::vector<uint8_t> gunzip(std::span<const uint8_t> compressed, const std::filesystem::path& path) {
  constexpr size_t kChunk = size_t{1} << 30;  // zlib counts in 32 bits
  Inflater inflater;
  z_stream& stream = inflater.stream;
  std::vector<uint8_t> bytes(std::max<size_t>(4096, compressed.size() * 5));
  size_t read = 0, written = 0;
  while (read < compressed.size()) {
    if (written == bytes.size()) bytes.resize(bytes.size() * 2);
    const size_t input = std::min(compressed.size() - read, kChunk), output = std::min(bytes.size() - written, kChunk);
    stream.next_in = const_cast<Bytef*>(compressed.data() + read);
    stream.avail_in = static_cast<uInt>(input);
    stream.next_out = bytes.data() + written;
    stream.avail_out = static_cast<uInt>(output);
    const int status = inflate(&stream, Z_NO_FLUSH);
    NSGD_CHECK(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR,
               "{}: corrupt gzip data near byte {} of {}: {}", path.string(), read + (input - stream.avail_in),
               compressed.size(), stream.msg ? stream.msg : zError(status));
    read += input - stream.avail_in;
    written += output - stream.avail_out;
    if (status == Z_STREAM_END) {
      if (read == compressed.size()) {
        bytes.resize(written);
        return bytes;
      }
      inflateReset(&stream);  // gzip allows several members one after another
    }
  }
  // All input is consumed; what is left may only be output that did not fit.
  for (;;) {
    if (written == bytes.size()) bytes.resize(bytes.size() * 2);
    const size_t output = std::min(bytes.size() - written, kChunk);
    stream.next_out = bytes.data() + written;
    stream.avail_out = static_cast<uInt>(output);
    const int status = inflate(&stream, Z_NO_FLUSH);
    written += output - stream.avail_out;
    if (status == Z_STREAM_END) break;
    NSGD_CHECK(status == Z_OK, "{}: the gzip data is truncated after {} bytes", path.string(), compressed.size());
  }
  bytes.resize(written);
  return bytes;
}

}  // namespace

std::vector<uint8_t> read_file(const std::filesystem::path& path) {
  const FileDescriptor file(path, O_RDONLY);
  struct stat status {};
  NSGD_CHECK(::fstat(file.get(), &status) == 0, "{}: cannot be examined: {}", path.string(), std::strerror(errno));
  NSGD_CHECK(S_ISREG(status.st_mode), "{}: is not a regular file", path.string());
  std::vector<uint8_t> bytes(static_cast<size_t>(status.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    NSGD_CHECK(got > 0, "{}: reading stopped at byte {} of {}: {}", path.string(), done, bytes.size(),
               got < 0 ? std::strerror(errno) : "the file became shorter");
    done += static_cast<size_t>(got);
  }
  return bytes;
}

std::vector<uint8_t> read_maybe_gzip(const std::filesystem::path& path) {
  auto bytes = read_file(path);
  NSGD_CHECK(!bytes.empty(), "{}: the file is empty", path.string());
  if (bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b) return gunzip(bytes, path);
  return bytes;
}

void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  FileDescriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = ::write(file.get(), bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno == EINTR) continue;
    NSGD_CHECK(put > 0, "{}: writing stopped at byte {} of {}: {}", path.string(), done, bytes.size(),
               std::strerror(errno));
    done += static_cast<size_t>(put);
  }
  NSGD_CHECK(::close(file.release()) == 0, "{}: cannot be closed: {}", path.string(), std::strerror(errno));
}

}  // namespace noisysgd
