// Calls of the address sanitizer; empty in other builds. The emulator itself is not instrumented (it would be 2.5 times
// slower), so the build defines NSGD_EMULATION_ASAN.
#pragma once

#include <cstddef>

#ifdef NSGD_EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace noisysgd::emulation {

#ifdef NSGD_EMULATION_ASAN
inline void poison(const void* begin, size_t bytes) { __asan_poison_memory_region(begin, bytes); }
inline void unpoison(const void* begin, size_t bytes) { __asan_unpoison_memory_region(begin, bytes); }
// Reports an access to [begin, begin + bytes) as an instrumented load would.
inline void check_access(const void* begin, size_t bytes) {
  if (void* bad = __asan_region_is_poisoned(const_cast<void*>(begin), bytes)) {
    __asan_report_error(__builtin_return_address(0), __builtin_frame_address(0), __builtin_frame_address(0), bad, 0,
                        bytes);
  }
}
#else
inline void poison(const void*, size_t) {}
inline void unpoison(const void*, size_t) {}
inline void check_access(const void*, size_t) {}
#endif

}  // namespace noisysgd::emulation
