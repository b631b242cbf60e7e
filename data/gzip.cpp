#include <noisysgd/data/gzip.h>

#include <algorithm>

#include <noisysgd/kernels/check.h>

namespace noisysgd {

bool is_gzip(std::span<const uint8_t> bytes) { return bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b; }

GzipReader::GzipReader(std::span<const uint8_t> compressed, std::string name)
    : compressed_(compressed), rest_(compressed), name_(std::move(name)) {
  // 15: bits of the window. 16: gzip framing.
  NSGD_CHECK(inflateInit2(&stream_, 15 + 16) == Z_OK, "{}: zlib cannot start decompression", name_);
}

GzipReader::~GzipReader() { inflateEnd(&stream_); }

void GzipReader::append(std::vector<uint8_t>& bytes, uint64_t count) {
  if (count > 0 && !ahead_.empty()) {
    bytes.push_back(ahead_.front());
    ahead_.clear();
    --count;
  }
  while (count > 0 && !ended_) {
    // An estimate of the remaining size, so small data take little memory and large data few iterations.
    const size_t before = bytes.size(), guess = std::max<size_t>({4096, before, 4 * rest_.size()});
    bytes.resize(before + static_cast<size_t>(std::min<uint64_t>(count, guess)));
    const size_t added = read(std::span(bytes).subspan(before));
    bytes.resize(before + added);
    count -= added;
  }
}

bool GzipReader::at_end() {
  if (ahead_.empty()) append(ahead_, 1);
  return ahead_.empty();
}

size_t GzipReader::read(std::span<uint8_t> destination) {
  constexpr size_t kChunk = size_t{1} << 30;  // zlib counts in 32 bits
  size_t written = 0;
  while (written < destination.size() && !ended_) {
    const size_t input = std::min(rest_.size(), kChunk), output = std::min(destination.size() - written, kChunk);
    stream_.next_in = const_cast<Bytef*>(rest_.data());
    stream_.avail_in = static_cast<uInt>(input);
    stream_.next_out = destination.data() + written;
    stream_.avail_out = static_cast<uInt>(output);
    const int status = inflate(&stream_, Z_NO_FLUSH);
    rest_ = rest_.subspan(input - stream_.avail_in);
    written += output - stream_.avail_out;
    NSGD_CHECK(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR,
               "{}: corrupt gzip data near byte {} of {}: {}", name_, compressed_.size() - rest_.size(),
               compressed_.size(), stream_.msg ? stream_.msg : zError(status));
    // Z_BUF_ERROR: no progress although the output has room, so the input has ended too early.
    NSGD_CHECK(status != Z_BUF_ERROR, "{}: the gzip data is truncated after {} bytes", name_, compressed_.size());
    if (status == Z_STREAM_END) end_member();
  }
  return written;
}

void GzipReader::end_member() {
  if (is_gzip(rest_)) {
    inflateReset(&stream_);
    return;
  }
  const auto other = std::find_if(rest_.begin(), rest_.end(), [](uint8_t byte) { return byte != 0; });
  NSGD_CHECK(other == rest_.end(), "{}: the gzip data ends at byte {}, but {} bytes that are not all zeros follow", name_,
             compressed_.size() - rest_.size(), rest_.size());
  ended_ = true;
}

std::vector<uint8_t> gunzip(std::span<const uint8_t> compressed, uint64_t limit, const std::string& name) {
  GzipReader reader(compressed, name);
  std::vector<uint8_t> bytes;
  reader.append(bytes, limit);
  NSGD_CHECK(reader.at_end(), "{}: the gzip data unpacks to more than the {} bytes expected", name, limit);
  return bytes;
}

}  // namespace noisysgd
