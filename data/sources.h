// Download addresses of published data sets, and the sizes and hashes of their files. Mirrors are tried in order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace noisysgd {

struct SourceFile {
  std::string name;
  // Mirrors recompress .gz files, so size and hash are those of the decompressed content. For an archive (.tar.gz),
  // which is unpacked, they are those of the file itself.
  bool archive = false;
  int64_t size = 0;    // bytes; 0: unknown
  std::string sha256;  // 64 hexadecimal digits
};

struct UnpackedFile {
  std::string path;  // below the root
  int64_t size = 0;
};

struct Source {
  std::string name;  // as in a configuration: "mnist"
  std::string title;
  std::string folder;                // below the root; archives contain their own
  std::vector<std::string> mirrors;  // URLs of folders, with the final slash
  std::vector<SourceFile> files;
  std::vector<UnpackedFile> unpacked;  // what the archives hold
};

const std::vector<Source>& all_sources();

const Source* find_source(std::string_view name);  // nullptr: unknown

}  // namespace noisysgd
