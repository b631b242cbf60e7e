// Files that are written whole or not at all, files that only grow, and reading a whole file.
// Every failure is an Error naming the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <noisysgd/kernels/check.h>

namespace noisysgd {

// An open file descriptor; closes itself.
class FileDescriptor {
 public:
  explicit FileDescriptor(int value = -1) : value_(value) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  int get() const { return value_; }
  bool is_open() const { return value_ >= 0; }
  int close();  // 0, or -1 with errno: a network file system may report a failed write only here

 private:
  int value_;
};

// A file that appears under its name only when complete: a temporary of its own in the same folder, fsync, rename,
// fsync of the folder. Until commit() the previous file is untouched; without it the temporary disappears with this
// object. Several writers of a path do not meet: the last to commit wins. What killed writers left behind is removed by
// the next one. A symbolic link under the name is followed, never replaced.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

 private:
  [[noreturn]] void fail(int error) const;
  void open_temporary();

  std::filesystem::path path_;       // as the caller names it: for messages
  std::filesystem::path target_;     // links resolved
  std::filesystem::path temporary_;  // empty once renamed
  FileDescriptor file_;              // locked: other writers see that the temporary is in use
};

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);
// Throws Error where no AtomicFile can be begun: before long work whose result is to be written there.
void check_writable(const std::filesystem::path& path);
// True for the name of a temporary of any AtomicFile.
bool is_temporary(const std::filesystem::path& path);

std::string read_file(const std::filesystem::path& path);  // of a pipe or device, too
// Nothing if there is no such file. Whatever else is under the name, a symbolic link too, is an Error.
std::optional<std::string> read_plain_file(const std::filesystem::path& path);

// With those above it. Throws Error that names the folder.
void make_folder(const std::filesystem::path& folder);

// Keeps other processes that ask for it away from a folder or a file until it, or its process, ends. Writes nothing; a
// file system that cannot lock lets everybody in. A file that is locked must not be replaced.
class PathLock {
 public:
  static PathLock wait(const std::filesystem::path& folder);                              // until no other has it
  static std::optional<PathLock> attempt(const std::filesystem::path& file);              // nothing if another has it
  static std::optional<PathLock> attempt_shared(const std::filesystem::path& file);       // with others that share it

 private:
  explicit PathLock(FileDescriptor file) : file_(std::move(file)) {}
  static std::optional<PathLock> take(const std::filesystem::path& path, int flags, int operation);

  FileDescriptor file_;
};

// A log that only grows: opened with its first `keep` bytes (the rest is cut off), each append() whole or undone. A
// symbolic link is refused.
class AppendFile {
 public:
  explicit AppendFile(const std::filesystem::path& path, std::uint64_t keep = 0);

  void append(std::string_view bytes);
  void sync();  // on return everything appended survives a power failure
  std::uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  std::uint64_t size_;
};

// Reads at any place of an open file of known size.
class RandomAccessFile {
 public:
  explicit RandomAccessFile(const std::filesystem::path& path);

  void read(std::uint64_t offset, std::span<std::byte> destination) const;  // all of it, or an Error
  std::uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  std::uint64_t size_;
};

}  // namespace noisysgd
