#include <noisysgd/kernels/emulation/async_copy.h>

#include <cstdint>
#include <cstring>

#include <noisysgd/kernels/emulation/race_checker.h>
#include <noisysgd/kernels/emulation/sanitizer.h>
#include <noisysgd/kernels/emulation/scheduler.h>

namespace noisysgd::emulation {

void AsyncCopies::issue(void* to, const void* from, size_t bytes, size_t zero_fill, const char* file, int line) {
  if ((bytes != 4 && bytes != 8 && bytes != 16) || zero_fill > bytes) {
    fail("cp.async: the size is not 4, 8 or 16 bytes", file, line);
  }
  if (reinterpret_cast<uintptr_t>(to) % bytes != 0 || reinterpret_cast<uintptr_t>(from) % bytes != 0) {
    fail("cp.async: misaligned", file, line);
  }
  check_access(to, bytes);
  if (bytes > zero_fill) check_access(from, bytes - zero_fill);
  race::access(from, bytes - zero_fill, false, __builtin_return_address(0));
  race::access(to, bytes, true, __builtin_return_address(0));
  race::forget_written(to, bytes);  // reading it before the wait is a finding
  copies_.push_back({static_cast<char*>(to), static_cast<const char*>(from), bytes, zero_fill});
  file_ = file;
  line_ = line;
  ++uncommitted_;
}

void AsyncCopies::commit() {
  groups_.push_back(uncommitted_);
  uncommitted_ = 0;
}

void AsyncCopies::wait(size_t groups_left) {
  size_t landing = 0, groups = 0;
  for (; groups_.size() - groups > groups_left; ++groups) landing += groups_[groups];
  for (size_t i = 0; i < landing; ++i) {
    const Copy& copy = copies_[i];
    std::memcpy(copy.to, copy.from, copy.bytes - copy.zero_fill);
    std::memset(copy.to + copy.bytes - copy.zero_fill, 0, copy.zero_fill);
    race::access(copy.to, copy.bytes, true, __builtin_return_address(0));
  }
  copies_.erase(copies_.begin(), copies_.begin() + static_cast<std::ptrdiff_t>(landing));
  groups_.erase(groups_.begin(), groups_.begin() + static_cast<std::ptrdiff_t>(groups));
}

void AsyncCopies::clear() {
  copies_.clear();
  groups_.clear();
  uncommitted_ = 0;
}

}  // namespace noisysgd::emulation
