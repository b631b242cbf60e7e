#include <noisysgd/data/part_file.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace noisysgd {
namespace {

namespace fs = std::filesystem;

fs::path part_of(fs::path target) { return target += ".part"; }

}  // namespace

PartFile::PartFile(const fs::path& target) : target_(target), path_(part_of(target)) {
  // O_NONBLOCK: opening a pipe must not wait for a reader.
  file_ =
      FileDescriptor(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
  const int error = file_.is_open() ? 0 : errno;
  struct stat status {};
  const bool plain = file_.is_open() && ::fstat(file_.get(), &status) == 0 && S_ISREG(status.st_mode) &&
                     status.st_nlink == 1 && status.st_uid == ::geteuid();
  const bool other = error == ELOOP || error == EISDIR || error == ENXIO;  // a link, a folder, a pipe
  NSGD_CHECK(plain || (error != 0 && !other),
             "{}: is not a regular file that this user owns: remove it, then fetch again", path_.string());
  if (error != 0) fail(error);
  // Another program may have renamed the file before it was locked here.
  struct stat named {};
  const bool locked = ::flock(file_.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
  NSGD_CHECK(locked && ::lstat(path_.c_str(), &named) == 0 && named.st_ino == status.st_ino,
             "{}: another program is fetching this file", path_.string());
}

int64_t PartFile::size() const {
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) fail(errno);
  return status.st_size;
}

void PartFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void PartFile::truncate(int64_t size) {
  if (::ftruncate(file_.get(), size) != 0) fail(errno);
}

void PartFile::remove() {
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) fail(errno);
}

void PartFile::commit() {
  if (::fsync(file_.get()) != 0 || ::rename(path_.c_str(), target_.c_str()) != 0) {
    const int error = errno;
    throw Error(fmt::format("{}: cannot be written: {}", target_.string(), std::generic_category().message(error)));
  }
}

void PartFile::fail(int error) const {
  throw Error(fmt::format("{}: cannot be written: {}", path_.string(), std::generic_category().message(error)));
}

}  // namespace noisysgd
