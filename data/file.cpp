#include "data/file.h"

#include <zlib.h>

#include <algorithm>

#include "core/file.h"
#include "kernels/check.h"

namespace noisysgd {
namespace {

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

std::vector<uint8_t> read_bytes(const std::filesystem::path& path) {
  const RandomAccessFile file(path);
  std::vector<uint8_t> bytes(file.size());
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

std::vector<uint8_t> read_maybe_gzip(const std::filesystem::path& path) {
  auto bytes = read_bytes(path);
  NSGD_CHECK(!bytes.empty(), "{}: the file is empty", path.string());
  if (bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b) return gunzip(bytes, path);
  return bytes;
}

void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes) {
  AtomicFile file(path);
  file.write(std::as_bytes(bytes));
  file.commit();
}

}  // namespace noisysgd
