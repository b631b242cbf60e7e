// The cp.async copies that one thread has issued and not yet waited for.
#pragma once

#include <cstddef>
#include <vector>

namespace noisysgd::emulation {

class AsyncCopies {
 public:
  void issue(void* to, const void* from, size_t bytes, size_t zero_fill, const char* file, int line);
  void commit();
  // Completes the copies of all groups but the last `groups_left`.
  void wait(size_t groups_left);
  bool pending() const { return !copies_.empty(); }
  void clear();

  const char* file() const { return file_; }  // of the last copy
  int line() const { return line_; }

 private:
  struct Copy {
    char* to;
    const char* from;
    size_t bytes, zero_fill;
  };
  std::vector<Copy> copies_;
  std::vector<size_t> groups_;  // copies in each committed group
  size_t uncommitted_ = 0;
  const char* file_ = nullptr;
  int line_ = 0;
};

}  // namespace noisysgd::emulation
