// Atomic files, append-only files, locks and reading. Every failure is an Error that names the path and the system's
// reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <noisysgd/kernels/check.h>

namespace noisysgd {

// An open file descriptor, closed by the destructor.
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

// A file that appears under its name only when complete: a temporary file in the same folder, fsync, rename, fsync of
// the folder. Until commit() the previous file is untouched; without commit() the destructor removes the temporary
// file. Concurrent writers of a path have separate temporary files, and the last commit wins. The temporary files of
// killed writers are removed by the next writer. A symbolic link under the name is followed, never replaced.
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

  std::filesystem::path path_;       // as given by the caller, for messages
  std::filesystem::path target_;     // with symbolic links resolved
  std::filesystem::path temporary_;  // empty once renamed
  FileDescriptor file_;              // locked: other writers do not remove the temporary file
};

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);
// Writes nothing if the file holds these bytes already.
void write_file_if_new(const std::filesystem::path& path, std::string_view bytes);
// Throws Error if no AtomicFile can be opened at the path. For a check before long work that writes its result there.
void check_writable(const std::filesystem::path& path);
// The same for a result whose path a user types: throws Error, too, for a file that is there and does not begin with
// `begin`, such as a run's data. kind: what is expected there, "an HTML page".
void check_replaceable(const std::filesystem::path& path, std::string_view begin, const char* kind);
// The same where more than the first bytes decides. is_own: of a file that is there and not empty.
void check_replaceable(const std::filesystem::path& path, const std::function<bool()>& is_own, const char* kind);
// True for the name of a temporary file of any AtomicFile.
bool is_temporary(const std::filesystem::path& path);

std::string read_file(const std::filesystem::path& path);  // the path may be a pipe or a device
// Reads a regular file; none if the path does not exist. Anything else, including a symbolic link, is an Error.
std::optional<std::string> read_plain_file(const std::filesystem::path& path);

// Creates the folder and its missing parents. Throws Error that names the folder.
void make_folder(const std::filesystem::path& folder);

// An advisory lock on a folder or a file, held until this object is destroyed or its process ends. Writes nothing. On a
// file system without locks it always succeeds. A locked file must not be replaced.
class PathLock {
 public:
  static PathLock wait(const std::filesystem::path& folder);                         // waits until it is free
  static std::optional<PathLock> attempt(const std::filesystem::path& file);         // none if it is held elsewhere
  static std::optional<PathLock> attempt_shared(const std::filesystem::path& file);  // along with other shared locks

 private:
  explicit PathLock(FileDescriptor file) : file_(std::move(file)) {}
  static std::optional<PathLock> take(const std::filesystem::path& path, int flags, int operation);

  FileDescriptor file_;
};

// An append-only log. Opening keeps the first `keep` bytes and cuts off the rest; each append() is written whole or
// undone. A symbolic link is refused.
class AppendFile {
 public:
  explicit AppendFile(const std::filesystem::path& path, std::uint64_t keep = 0);

  void append(std::string_view bytes);
  void sync();  // on return, all appended bytes survive a power failure
  std::uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  std::uint64_t size_;
};

// Reads at any offset of an open file of known size.
class RandomAccessFile {
 public:
  explicit RandomAccessFile(const std::filesystem::path& path);

  void read(std::uint64_t offset, std::span<std::byte> destination) const;  // fills it, or throws Error
  std::uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  std::uint64_t size_;
};

}  // namespace noisysgd
