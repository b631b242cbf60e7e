// Builds small tar archives in memory, right or deliberately wrong.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "tests/data/bytes.h"

namespace noisysgd::testing {

struct TarMember {
  std::string name;
  Bytes content;
  char type = '0';
  std::string prefix;
};

// Into the header that the bytes begin with: the sum of its bytes, its own eight counted as spaces.
inline void write_checksum(Bytes& member) {
  std::fill_n(member.begin() + 148, 8, uint8_t{' '});
  unsigned sum = 0;
  for (size_t i = 0; i < 512; ++i) sum += member[i];
  char text[8];
  std::snprintf(text, sizeof text, "%06o", sum);
  std::copy_n(text, 7, member.begin() + 148);
}

inline Bytes tar_member(const TarMember& member) {
  Bytes header(512, 0);
  const auto text = [&](size_t offset, const std::string& value) {
    std::memcpy(&header[offset], value.data(), value.size());
  };
  const auto octal = [&](size_t offset, int digits, size_t value) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%0*zo", digits, value);
    text(offset, buffer);
  };
  text(0, member.name);
  octal(100, 7, 0644);
  octal(124, 11, member.content.size());
  octal(136, 11, 0);
  header[156] = static_cast<uint8_t>(member.type);
  text(257, std::string("ustar\0"
                        "00",
                        8));
  text(345, member.prefix);
  write_checksum(header);
  append(header, member.content);
  header.resize((header.size() + 511) / 512 * 512);
  return header;
}

inline Bytes tar_archive(const std::vector<TarMember>& members) {
  Bytes bytes;
  for (const auto& member : members) append(bytes, tar_member(member));
  bytes.resize(bytes.size() + 1024);
  return bytes;
}

}  // namespace noisysgd::testing
