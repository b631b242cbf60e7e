// Where published data sets lie and how to recognise them. Files are looked for at the mirrors in order.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace noisysgd {

struct SourceFile {
  std::string name;
  // Mirrors recompress .gz files, so those are recognised by what they hold: size and hash after decompression.
  // An archive (.tar.gz) is recognised as it is and unpacked.
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
  std::string folder;                // below the root; archives bring their own
  std::vector<std::string> mirrors;  // addresses of folders, with the final slash
  std::vector<SourceFile> files;
  std::vector<UnpackedFile> unpacked;  // what the archives hold
};

const std::vector<Source>& all_sources();

const Source* find_source(std::string_view name);  // nullptr: unknown

}  // namespace noisysgd
