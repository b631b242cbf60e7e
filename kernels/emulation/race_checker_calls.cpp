// The functions that -fsanitize=thread makes the kernels call. libtsan, which has no notion of blocks and barriers, is
// not linked.
#include <cstddef>

#include <noisysgd/kernels/emulation/race_checker.h>

namespace race = noisysgd::emulation::race;

#define NSGD_CALLER __builtin_return_address(0)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define NSGD_ACCESSES(n)                                                             \
  void __tsan_read##n(void* p) { race::access(p, n, false, NSGD_CALLER); }           \
  void __tsan_write##n(void* p) { race::access(p, n, true, NSGD_CALLER); }           \
  void __tsan_unaligned_read##n(void* p) { race::access(p, n, false, NSGD_CALLER); } \
  void __tsan_unaligned_write##n(void* p) { race::access(p, n, true, NSGD_CALLER); } \
  void __tsan_volatile_read##n(void* p) { race::access(p, n, false, NSGD_CALLER); }  \
  void __tsan_volatile_write##n(void* p) { race::access(p, n, true, NSGD_CALLER); }
NSGD_ACCESSES(1)
NSGD_ACCESSES(2)
NSGD_ACCESSES(4)
NSGD_ACCESSES(8)
NSGD_ACCESSES(16)
void __tsan_read_range(void* p, size_t bytes) { race::access(p, bytes, false, NSGD_CALLER); }
void __tsan_write_range(void* p, size_t bytes) { race::access(p, bytes, true, NSGD_CALLER); }

// One OS thread runs everything, so plain operations are atomic.
#define NSGD_ATOMICS(bits, T)                                                                        \
  T __tsan_atomic##bits##_load(const volatile T* p, int) {                                           \
    race::atomic_access(const_cast<T*>(p), sizeof(T), NSGD_CALLER);                                  \
    return *p;                                                                                       \
  }                                                                                                  \
  void __tsan_atomic##bits##_store(volatile T* p, T value, int) {                                    \
    race::atomic_access(const_cast<T*>(p), sizeof(T), NSGD_CALLER);                                  \
    *p = value;                                                                                      \
  }                                                                                                  \
  T __tsan_atomic##bits##_exchange(volatile T* p, T value, int) {                                    \
    race::atomic_access(const_cast<T*>(p), sizeof(T), NSGD_CALLER);                                  \
    const T old = *p;                                                                                \
    *p = value;                                                                                      \
    return old;                                                                                      \
  }                                                                                                  \
  T __tsan_atomic##bits##_fetch_add(volatile T* p, T value, int) {                                   \
    race::atomic_access(const_cast<T*>(p), sizeof(T), NSGD_CALLER);                                  \
    const T old = *p;                                                                                \
    *p = static_cast<T>(old + value);                                                                \
    return old;                                                                                      \
  }                                                                                                  \
  T __tsan_atomic##bits##_fetch_sub(volatile T* p, T value, int) {                                   \
    race::atomic_access(const_cast<T*>(p), sizeof(T), NSGD_CALLER);                                  \
    const T old = *p;                                                                                \
    *p = static_cast<T>(old - value);                                                                \
    return old;                                                                                      \
  }                                                                                                  \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* expected, T value, int, int) { \
    race::atomic_access(const_cast<T*>(p), sizeof(T), NSGD_CALLER);                                  \
    if (*p == *expected) {                                                                           \
      *p = value;                                                                                    \
      return 1;                                                                                      \
    }                                                                                                \
    *expected = *p;                                                                                  \
    return 0;                                                                                        \
  }                                                                                                  \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile T* p, T* expected, T value, int, int) {   \
    return __tsan_atomic##bits##_compare_exchange_strong(p, expected, value, 0, 0);                  \
  }                                                                                                  \
  T __tsan_atomic##bits##_compare_exchange_val(volatile T* p, T expected, T value, int, int) {       \
    __tsan_atomic##bits##_compare_exchange_strong(p, &expected, value, 0, 0);                        \
    return expected;                                                                                 \
  }
NSGD_ATOMICS(8, unsigned char)
NSGD_ATOMICS(16, unsigned short)
NSGD_ATOMICS(32, unsigned)
NSGD_ATOMICS(64, unsigned long)
void __tsan_atomic_thread_fence(int) {}
}
