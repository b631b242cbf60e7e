// Files that are written whole or not at all, files that only grow, and reading a whole file.
// Every failure is an Error naming the path and the system's reason. One writer per path at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

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

// A file that appears under its name only when complete: NAME.tmp in the same folder, fsync, rename, fsync of the
// folder. Until commit() the previous file is untouched; without it the temporary disappears with this object. A
// temporary that a killed process left behind is overwritten by the next writer. A symbolic link is followed, never
// replaced.
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

  std::filesystem::path path_;       // as the caller names it: for messages
  std::filesystem::path target_;     // links resolved
  std::filesystem::path temporary_;  // empty once renamed
  FileDescriptor file_;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);
std::string read_file(const std::filesystem::path& path);

// With those above it. Throws Error that names the folder.
void make_folder(const std::filesystem::path& folder);

// Keeps other processes that ask for it out of a folder until it, or its process, ends. Writes nothing; a file system
// that cannot lock lets everybody in.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);

 private:
  FileDescriptor file_;
};

// A log that only grows: opened with its first `keep` bytes (the rest is cut off), each append() whole or undone.
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
