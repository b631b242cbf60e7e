#include <noisysgd/core/file.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace noisysgd {
namespace {

constexpr std::size_t largest_transfer = std::size_t{1} << 30;  // Linux moves at most 2 GiB per call

std::string reason(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail_to(std::string_view verb, const std::filesystem::path& path, int error) {
  throw Error(fmt::format("cannot {} {}: {}", verb, path.string(), reason(error)));
}

int open_retrying(const std::filesystem::path& path, int flags, mode_t mode = 0) {
  int file;
  do {
    file = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (file < 0 && errno == EINTR);
  return file;
}

// 0, or the error number. A short write is continued, which reveals its reason, such as a full disk.
int write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), std::min(bytes.size(), largest_transfer));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return 0;
}

int sync_folder(const std::filesystem::path& folder) {
  const FileDescriptor file(open_retrying(folder, O_RDONLY | O_DIRECTORY));
  if (!file.is_open()) return errno;
  // Some network file systems have no fsync for folders and return EINVAL; on these a rename is durable by itself.
  return ::fsync(file.get()) == 0 || errno == EINVAL ? 0 : errno;
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

// Renaming onto a device would replace the device (as root, even /dev/null), and renaming onto a link the link.
std::filesystem::path resolve_target(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path target = path;
  // Link by link, because the last link may point to a file that does not exist yet. 40 is the limit of the kernel.
  for (int links = 0; std::filesystem::is_symlink(std::filesystem::symlink_status(target, error)); ++links) {
    if (links == 40) fail_to("write", path, ELOOP);
    target = folder_of(target) / std::filesystem::read_symlink(target, error);
  }
  NSGD_CHECK(target.has_filename(), "cannot write \"{}\": expected the name of a file", path.string());
  const auto status = std::filesystem::status(target, error);
  NSGD_CHECK(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status),
             "cannot write {}: it exists and is not a regular file", path.string());
  return target;
}

// NAME.noisysgd-XXXXXX.tmp
constexpr std::string_view temporary_mark = ".noisysgd-", temporary_end = ".tmp";
constexpr std::size_t random_characters = 6;

// NAME of such a file name, never empty; none for any other file name.
std::optional<std::string_view> name_of_temporary(std::string_view name) {
  constexpr std::size_t added = temporary_mark.size() + random_characters + temporary_end.size();
  if (name.size() <= added || !name.ends_with(temporary_end)) return {};
  const std::size_t end = name.size() - added;
  if (!name.substr(end).starts_with(temporary_mark)) return {};
  return name.substr(0, end);
}

std::string random_word() {
  constexpr std::string_view characters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::array<unsigned char, random_characters> bytes{};
  if (::getentropy(bytes.data(), bytes.size()) != 0) throw Error("no random numbers from the system: " + reason(errno));
  std::string word;
  for (const unsigned char byte : bytes) word += characters[byte % characters.size()];
  return word;
}

bool locked(int file) { return ::flock(file, LOCK_EX | LOCK_NB) == 0; }

// Removes the temporary files of `target` that no process has locked: their writers were killed.
void remove_leftovers(const std::filesystem::path& target) {
  const std::string name = target.filename().string();
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder_of(target), error), end; !error && entry != end;
       entry.increment(error)) {
    const std::filesystem::path& path = entry->path();
    if (name_of_temporary(path.filename().string()) != name) continue;
    const FileDescriptor file(open_retrying(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK));
    if (file.is_open() && locked(file.get())) ::unlink(path.c_str());
  }
}

std::string read_all(int file, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file, &status) != 0) fail_to("read", path, errno);
  std::string bytes;
  std::size_t filled = 0;
  // One byte more than the size, so that the last read finds the end of the file. Pipes, of size 0, grow by doubling.
  bytes.resize(static_cast<std::size_t>(status.st_size) + 1);
  while (true) {
    if (filled == bytes.size()) bytes.resize(std::max<std::size_t>(2 * bytes.size(), 4096));
    const ssize_t got = ::read(file, bytes.data() + filled, std::min(bytes.size() - filled, largest_transfer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_to("read", path, errno);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace

bool is_temporary(const std::filesystem::path& path) { return name_of_temporary(path.filename().string()).has_value(); }

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    close();
    value_ = std::exchange(other.value_, -1);
  }
  return *this;
}

FileDescriptor::~FileDescriptor() { close(); }

int FileDescriptor::close() {
  const int value = std::exchange(value_, -1);
  return value < 0 ? 0 : ::close(value);
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path), target_(resolve_target(path)) {
  remove_leftovers(target_);
  open_temporary();
}

void AtomicFile::open_temporary() {
  while (true) {
    std::filesystem::path temporary =
        fmt::format("{}{}{}{}", target_.string(), temporary_mark, random_word(), temporary_end);
    file_ = FileDescriptor(open_retrying(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666));
    if (!file_.is_open() && errno == EEXIST) continue;
    if (!file_.is_open()) fail(errno);
    temporary_ = std::move(temporary);
    // Until the file is locked, another writer may remove it as a leftover; then a new one is created. On a file system
    // without locks no writer removes leftovers.
    const bool kept = locked(file_.get()) || errno != EWOULDBLOCK;
    struct stat status {};
    if (!kept || ::fstat(file_.get(), &status) != 0 || status.st_nlink == 0) continue;
    return;
  }
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail(int error) const { fail_to("write", path_, error); }

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (const int error = write_all(file_.get(), bytes)) fail(error);
}

void AtomicFile::commit() {
  if (::fsync(file_.get()) != 0) fail(errno);
  // A duplicate descriptor keeps the lock until the rename is done.
  FileDescriptor lock(::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
  if (!lock.is_open() || file_.close() != 0) fail(errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(errno);
  temporary_.clear();
  if (const int error = sync_folder(folder_of(target_))) fail(error);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_if_new(const std::filesystem::path& path, std::string_view bytes) {
  if (read_plain_file(path) != bytes) write_file_atomically(path, bytes);
}

void check_writable(const std::filesystem::path& path) { const AtomicFile file(path); }

void check_replaceable(const std::filesystem::path& path, const std::function<bool()>& is_own, const char* kind) {
  check_writable(path);
  std::error_code absent;
  const bool there = std::filesystem::file_size(path, absent) > 0 && !absent;
  NSGD_CHECK(!there || is_own(), "{}: is there and is not {}; it is not replaced", path.string(), kind);
}

void check_replaceable(const std::filesystem::path& path, std::string_view begin, const char* kind) {
  check_replaceable(
      path, [&] { return read_plain_file(path).value_or("").starts_with(begin); }, kind);
}

std::string read_file(const std::filesystem::path& path) {
  const FileDescriptor file(open_retrying(path, O_RDONLY));
  if (!file.is_open()) fail_to("read", path, errno);
  return read_all(file.get(), path);
}

std::optional<std::string> read_plain_file(const std::filesystem::path& path) {
  // O_NONBLOCK: a pipe must not wait for its writer.
  const FileDescriptor file(open_retrying(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  if (!file.is_open() && (errno == ENOENT || errno == ENOTDIR)) return {};
  if (!file.is_open() && errno == ELOOP) throw Error(fmt::format("cannot read {}: a symbolic link", path.string()));
  if (!file.is_open()) fail_to("read", path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail_to("read", path, errno);
  NSGD_CHECK(S_ISREG(status.st_mode), "cannot read {}: not a regular file", path.string());
  return read_all(file.get(), path);
}

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  NSGD_CHECK(!error, "{}: cannot be made: {}", folder.string(), error.message());
}

std::optional<PathLock> PathLock::take(const std::filesystem::path& path, int flags, int operation) {
  FileDescriptor file(open_retrying(path, flags));
  if (!file.is_open()) fail_to("open", path, errno);
  int status;
  do {
    status = ::flock(file.get(), operation);
  } while (status != 0 && errno == EINTR);
  return status != 0 && errno == EWOULDBLOCK ? std::nullopt : std::optional(PathLock(std::move(file)));
}

PathLock PathLock::wait(const std::filesystem::path& folder) {
  return take(folder, O_RDONLY | O_DIRECTORY, LOCK_EX).value();
}

// Opened for writing, which network file systems require for an exclusive lock.
std::optional<PathLock> PathLock::attempt(const std::filesystem::path& file) {
  return take(file, O_RDWR | O_NOFOLLOW, LOCK_EX | LOCK_NB);
}

std::optional<PathLock> PathLock::attempt_shared(const std::filesystem::path& file) {
  return take(file, O_RDONLY | O_NOFOLLOW, LOCK_SH | LOCK_NB);
}

AppendFile::AppendFile(const std::filesystem::path& path, std::uint64_t keep)
    : path_(path),
      file_(open_retrying(path, O_WRONLY | (keep == 0 ? O_CREAT : 0) | O_APPEND | O_NOFOLLOW, 0666)),
      size_(keep) {
  if (!file_.is_open() && errno == ELOOP) throw Error(fmt::format("cannot write {}: a symbolic link", path.string()));
  if (!file_.is_open()) fail_to("write", path, errno);
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) fail_to("write", path, errno);
  if (!S_ISREG(status.st_mode)) return;  // a pipe or a device has nothing to cut off
  NSGD_CHECK(static_cast<std::uint64_t>(status.st_size) >= keep,
             "cannot continue {}: it has {} bytes, fewer than the {} to keep", path.string(), status.st_size, keep);
  if (::ftruncate(file_.get(), static_cast<off_t>(keep)) != 0) fail_to("write", path, errno);
}

void AppendFile::append(std::string_view bytes) {
  if (const int error = write_all(file_.get(), std::as_bytes(std::span(bytes)))) {
    // A partial record would make the file unreadable. On a pipe or device the call fails, and nothing is to be undone.
    [[maybe_unused]] const int undone = ::ftruncate(file_.get(), static_cast<off_t>(size_));
    fail_to("write", path_, error);
  }
  size_ += bytes.size();
}

void AppendFile::sync() {
  if (::fsync(file_.get()) != 0 && errno != EINVAL) fail_to("write", path_, errno);  // EINVAL: a pipe or a device
}

RandomAccessFile::RandomAccessFile(const std::filesystem::path& path)
    : path_(path), file_(open_retrying(path, O_RDONLY | O_NONBLOCK)), size_(0) {
  if (!file_.is_open()) fail_to("read", path, errno);
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) fail_to("read", path, errno);
  NSGD_CHECK(S_ISREG(status.st_mode), "cannot read {}: not a regular file", path.string());
  size_ = static_cast<std::uint64_t>(status.st_size);
}

void RandomAccessFile::read(std::uint64_t offset, std::span<std::byte> destination) const {
  while (!destination.empty()) {
    const ssize_t got = ::pread(file_.get(), destination.data(), std::min(destination.size(), largest_transfer),
                                static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_to("read", path_, errno);
    NSGD_CHECK(got > 0, "cannot read {}: it ends at byte {}, {} bytes before the end of the requested range",
               path_.string(), offset, destination.size());
    destination = destination.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

}  // namespace noisysgd
