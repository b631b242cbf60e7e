// Unpacks gzip data in memory, never beyond what the caller expects. Members may follow each other, and zeros may fill
// up what comes after the last one. Errors name the data: corrupt, truncated, too long, other bytes after the end.
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

  // The bytes that come next, appended to `bytes`: `count`, or fewer at the end of the data. Takes memory as they come,
  // so that a count which the data only claims costs nothing.
  void append(std::vector<uint8_t>& bytes, uint64_t count);
  // True once nothing follows; the checksum was right then.
  bool at_end();

 private:
  size_t read(std::span<uint8_t> destination);
  void end_member();

  std::span<const uint8_t> compressed_, rest_;
  std::string name_;
  z_stream stream_{};
  bool ended_ = false;
  std::vector<uint8_t> ahead_;  // at most one byte, which at_end() met
};

// Error if there are more than `limit` bytes.
std::vector<uint8_t> gunzip(std::span<const uint8_t> compressed, uint64_t limit, const std::string& name);

}  // namespace noisysgd
