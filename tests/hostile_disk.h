// Real failures of the file system without a special one: a full disk and a folder that may not be written.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <utility>

namespace noisysgd::test {

// While it lives, no file of this process can grow beyond `bytes`: writes stop short and then fail with EFBIG, as they
// do with ENOSPC on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::size_t bytes) : previous_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    if (::getrlimit(RLIMIT_FSIZE, &previous_) != 0) throw std::runtime_error("getrlimit");
    rlimit limit = previous_;
    limit.rlim_cur = bytes;
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) throw std::runtime_error("setrlimit");
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &previous_);
    std::signal(SIGXFSZ, previous_handler_);
  }

 private:
  rlimit previous_{};
  void (*previous_handler_)(int);
};

// While it lives, the folder can be read, with all that is in it, but not written; root, whom permissions do not bind,
// acts as the user nobody.
class ReadOnlyFolder {
 public:
  explicit ReadOnlyFolder(std::filesystem::path folder) : folder_(std::move(folder)), user_(::geteuid()) {
    using std::filesystem::perms;
    const perms read = perms::owner_read | perms::group_read | perms::others_read;
    const perms enter = read | perms::owner_exec | perms::group_exec | perms::others_exec;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_))
      std::filesystem::permissions(entry, entry.is_directory() ? enter : read, std::filesystem::perm_options::add);
    std::filesystem::permissions(folder_, enter);
    if (user_ == 0 && ::seteuid(65534) != 0) throw std::runtime_error("seteuid");
  }
  ReadOnlyFolder(const ReadOnlyFolder&) = delete;
  ReadOnlyFolder& operator=(const ReadOnlyFolder&) = delete;
  ~ReadOnlyFolder() {
    if (user_ == 0 && ::seteuid(user_) != 0) std::abort();
    std::filesystem::permissions(folder_, std::filesystem::perms::owner_all);
  }

 private:
  std::filesystem::path folder_;
  uid_t user_;
};

}  // namespace noisysgd::test
