#include "tests/memory_requests.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace noisysgd::test {

MemoryRequests& memory_requests() {
  static MemoryRequests requests;
  return requests;
}

namespace {

void* request(size_t bytes, size_t alignment) {
  MemoryRequests& requests = memory_requests();
  const int64_t number = requests.made.fetch_add(1);
  if (number >= requests.first_refused && number < requests.last_refused) return nullptr;
  void* pointer = nullptr;
  const int status = posix_memalign(&pointer, std::max(alignment, sizeof(void*)), std::max<size_t>(bytes, 1));
  return status == 0 ? pointer : nullptr;
}

void* request_or_throw(size_t bytes, size_t alignment) {
  if (void* const pointer = request(bytes, alignment)) return pointer;
  if (const std::new_handler handler = std::get_new_handler()) handler();
  throw std::bad_alloc();
}

constexpr size_t default_alignment = 2 * sizeof(void*);

}  // namespace

}  // namespace noisysgd::test

#ifdef __SANITIZE_ADDRESS__
// A request that is too large fails as it does without the sanitizer, instead of ending the process.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
#endif

using noisysgd::test::default_alignment;
using noisysgd::test::request;
using noisysgd::test::request_or_throw;

void* operator new(size_t bytes) { return request_or_throw(bytes, default_alignment); }
void* operator new[](size_t bytes) { return request_or_throw(bytes, default_alignment); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return request_or_throw(bytes, static_cast<size_t>(alignment));
}
void* operator new[](size_t bytes, std::align_val_t alignment) {
  return request_or_throw(bytes, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return request(bytes, default_alignment); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return request(bytes, default_alignment); }
void operator delete(void* pointer) noexcept { std::free(pointer); }
void operator delete[](void* pointer) noexcept { std::free(pointer); }
void operator delete(void* pointer, size_t) noexcept { std::free(pointer); }
void operator delete[](void* pointer, size_t) noexcept { std::free(pointer); }
void operator delete(void* pointer, std::align_val_t) noexcept { std::free(pointer); }
void operator delete[](void* pointer, std::align_val_t) noexcept { std::free(pointer); }
void operator delete(void* pointer, size_t, std::align_val_t) noexcept { std::free(pointer); }
void operator delete[](void* pointer, size_t, std::align_val_t) noexcept { std::free(pointer); }
extern "C" void* aligned_alloc(size_t alignment, size_t bytes) noexcept { return request(bytes, alignment); }
