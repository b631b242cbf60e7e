// Counts requests for memory and lets some fail, in executables that are linked with memory_requests.cpp.
#pragma once

#include <atomic>
#include <cstdint>

namespace noisysgd::test {

// Requests to operator new and aligned_alloc so far. Those from the first to the one before the last fail.
struct MemoryRequests {
  std::atomic<int64_t> made = 0, first_refused = INT64_MAX, last_refused = INT64_MAX;
};
MemoryRequests& memory_requests();

// Every request fails while it lives.
class NoMemory {
 public:
  NoMemory() { memory_requests().first_refused = 0; }
  ~NoMemory() { memory_requests().first_refused = INT64_MAX; }
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;
};

}  // namespace noisysgd::test
