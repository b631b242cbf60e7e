// NAME.part, the beginning of a file that is being downloaded. It stays when the program ends, and the next download
// continues it. Only a regular file that this user owns is written to, never the target of a symbolic or hard link.
// Errors name the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include <noisysgd/core/file.h>

namespace noisysgd {

class PartFile {
 public:
  // Opens the file, creates it if there is none, and locks it. Throws Error if another program is downloading it.
  explicit PartFile(const std::filesystem::path& target);

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const;
  void append(std::span<const std::byte> bytes);
  void truncate(int64_t size);
  void remove();  // throws Error only if the file still exists
  // Renames the file to the target and replaces what is there. A link there is replaced, not followed.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;

  std::filesystem::path target_, path_;
  FileDescriptor file_;
};

}  // namespace noisysgd
