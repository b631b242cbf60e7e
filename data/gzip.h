// Decompresses gzip data in memory, never more than the caller asks for. The data may consist of several members, and
// zeros may follow the last one. Errors name the data: corrupt, truncated or too long, or other bytes after the end.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace noisysgd {

bool is_gzip(std::span<const uint8_t> bytes);  // by its first two bytes

class GzipReader {
 public:
  GzipReader(std::span<const uint8_t> compressed, std::string name);
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;
  ~GzipReader();

  // Appends the next `count` bytes to `bytes`, or fewer at the end of the data. Memory grows only as data arrive, so a
  // wrong `count` from a corrupt header costs nothing.
  void append(std::vector<uint8_t>& bytes, uint64_t count);
  // True if all bytes have been read. Their checksums were then correct.
  bool at_end();

 private:
  size_t read(std::span<uint8_t> destination);
  void end_member();

  std::span<const uint8_t> compressed_, rest_;
  std::string name_;
  z_stream stream_{};
  bool ended_ = false;
  std::vector<uint8_t> ahead_;  // at most one byte, which at_end() has read ahead
};

// Decompresses all of `compressed`. Throws Error if it has more than `limit` bytes.
std::vector<uint8_t> gunzip(std::span<const uint8_t> compressed, uint64_t limit, const std::string& name);

}  // namespace noisysgd
