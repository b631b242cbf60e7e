// The beginning of a file that is being fetched, NAME.part: kept when a program ends, continued by the next one.
// Only a plain file of this user's own is written to: never what a symbolic or hard link leads to. Errors name it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include <noisysgd/core/file.h>

namespace noisysgd {

class PartFile {
 public:
  // Made if there is none. Locked: an Error if another program is fetching it.
  explicit PartFile(const std::filesystem::path& target);

  const std::filesystem::path& path() const { return path_; }
  int64_t size() const;
  void append(std::span<const std::byte> bytes);
  void truncate(int64_t size);
  void remove();  // the name; an Error only if it stays
  // Gives it its name, in place of what is there: a link there is replaced, not followed.
  void commit();

 private:
  [[noreturn]] void fail(int error) const;

  std::filesystem::path target_, path_;
  FileDescriptor file_;
};

}  // namespace noisysgd
