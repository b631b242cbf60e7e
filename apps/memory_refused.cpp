#include <noisysgd/apps/memory_refused.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>

namespace noisysgd {
namespace {

char line[256];  // formatted in advance: later there is no memory for it
size_t length = 0;
std::atomic<bool> refused = false;
std::atomic_flag reported;
std::terminate_handler otherwise = nullptr;

[[noreturn]] void refuse() {
  refused = true;
  throw std::bad_alloc();
}

[[noreturn]] void terminate() {
  if (refused) {
    if (!reported.test_and_set() && ::write(STDERR_FILENO, line, length) < 0) ::_exit(1);
    ::_exit(1);
  }
  otherwise();
  std::abort();
}

}  // namespace

void end_program_if_out_of_memory(const std::string& program) {
  const auto add = [](std::string_view text) {
    length += text.copy(line + length, std::min(text.size(), sizeof line - length));
  };
  length = 0;
  add(program);
  add(": out of memory\n");
  std::set_new_handler(refuse);
  if (const std::terminate_handler before = std::set_terminate(terminate); before != terminate) otherwise = before;
}

}  // namespace noisysgd
