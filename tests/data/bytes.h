// Shared by the tests of data files: writing bytes to disk, and checks of the texts in an error message.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/temporary_folder.h"

namespace noisysgd::testing {

using test::error_of;
using test::TemporaryFolder;

using Bytes = std::vector<uint8_t>;

inline void put(const std::filesystem::path& path, const Bytes& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(file.good());
}

inline void put(const std::filesystem::path& path, const std::string& text) {
  put(path, Bytes(text.begin(), text.end()));
}

inline Bytes get(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void put_gzip(const std::filesystem::path& path, const Bytes& bytes, const char* mode = "wb6") {
  std::filesystem::create_directories(path.parent_path());
  gzFile file = gzopen(path.c_str(), mode);
  REQUIRE(file != nullptr);
  if (!bytes.empty())
    REQUIRE(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())) == static_cast<int>(bytes.size()));
  REQUIRE(gzclose(file) == Z_OK);
}

// Reproducible bytes that do not repeat soon.
inline Bytes noise_bytes(size_t count, uint32_t seed = 1) {
  Bytes bytes(count);
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (auto& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<uint8_t>(state >> 56);
  }
  return bytes;
}

inline void append(Bytes& to, const Bytes& from) { to.insert(to.end(), from.begin(), from.end()); }

// Every part must occur in the message.
inline void check_mentions(const std::string& message, const std::vector<std::string>& parts) {
  for (const auto& part : parts) {
    INFO("message: " << message << "\nexpected to mention: " << part);
    CHECK(message.find(part) != std::string::npos);
  }
}

inline Bytes idx_bytes(const std::vector<uint32_t>& shape, const Bytes& values, uint8_t type = 8) {
  Bytes bytes{0, 0, type, static_cast<uint8_t>(shape.size())};
  for (const uint32_t size : shape)
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(size >> shift));
  append(bytes, values);
  return bytes;
}

}  // namespace noisysgd::testing
