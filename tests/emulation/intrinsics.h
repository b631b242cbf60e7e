// Memory operations, atomics and arithmetic of device code that a host compiler lacks, under CUDA's names.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/emulation/scheduler.h"

// ---- memory ----
template <class T>
T __ldg(const T* pointer) {
  return *pointer;
}
template <class T>
T __ldcs(const T* pointer) {
  return *pointer;
}
template <class T>
void __stcs(T* pointer, T value) {
  *pointer = value;
}
// One OS thread runs everything: only the compiler must keep the order.
inline void __threadfence() { asm volatile("" ::: "memory"); }
inline void __threadfence_block() { asm volatile("" ::: "memory"); }

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes, size_t zero_fill = 0,
                                    NSGD_EMULATION_HERE) {
  noisysgd::emulation::async_copy(to, from, bytes, zero_fill, file, line);
}
inline void __pipeline_commit() { noisysgd::emulation::async_commit(); }
inline void __pipeline_wait_prior(size_t groups_left) { noisysgd::emulation::async_wait(groups_left); }

// ---- atomics ----
namespace noisysgd::emulation {

// Replaces *pointer by update(*pointer) and returns what was there.
template <class Word, class T, class Update>
T atomic_update(T* pointer, Update update) {
  static_assert(sizeof(T) == sizeof(Word));
  Word* word = reinterpret_cast<Word*>(pointer);
  Word seen = __atomic_load_n(word, __ATOMIC_RELAXED), desired;
  T old;
  do {
    std::memcpy(&old, &seen, sizeof old);
    const T updated = update(old);
    std::memcpy(&desired, &updated, sizeof desired);
  } while (!__atomic_compare_exchange_n(word, &seen, desired, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace noisysgd::emulation

inline float atomicAdd(float* pointer, float value) {
  return noisysgd::emulation::atomic_update<uint32_t>(pointer, [value](float old) { return old + value; });
}
inline double atomicAdd(double* pointer, double value) {
  return noisysgd::emulation::atomic_update<uint64_t>(pointer, [value](double old) { return old + value; });
}
inline int atomicAdd(int* pointer, int value) { return __atomic_fetch_add(pointer, value, __ATOMIC_RELAXED); }
inline unsigned atomicAdd(unsigned* pointer, unsigned value) {
  return __atomic_fetch_add(pointer, value, __ATOMIC_RELAXED);
}
inline unsigned long long atomicAdd(unsigned long long* pointer, unsigned long long value) {
  return __atomic_fetch_add(pointer, value, __ATOMIC_RELAXED);
}
inline int atomicMax(int* pointer, int value) {
  return noisysgd::emulation::atomic_update<uint32_t>(pointer, [value](int old) { return old > value ? old : value; });
}
inline int atomicMin(int* pointer, int value) {
  return noisysgd::emulation::atomic_update<uint32_t>(pointer, [value](int old) { return old < value ? old : value; });
}
inline unsigned atomicInc(unsigned* pointer, unsigned last) {
  return noisysgd::emulation::atomic_update<uint32_t>(pointer,
                                                      [last](unsigned old) { return old >= last ? 0 : old + 1; });
}
inline int atomicExch(int* pointer, int value) { return __atomic_exchange_n(pointer, value, __ATOMIC_RELAXED); }
inline unsigned atomicCAS(unsigned* pointer, unsigned expected, unsigned value) {
  __atomic_compare_exchange_n(pointer, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

// ---- arithmetic ----
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __saturatef(float x) { return x >= 0.0f ? (x <= 1.0f ? x : 1.0f) : 0.0f; }
inline void __sincosf(float x, float* sine, float* cosine) { sincosf(x, sine, cosine); }
inline void sincospif(float x, float* sine, float* cosine) {
  const double angle = double(x) * M_PI;
  *sine = static_cast<float>(std::sin(angle));
  *cosine = static_cast<float>(std::cos(angle));
}

namespace noisysgd::emulation {
template <class To, class From>
To bit_copy(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}
}  // namespace noisysgd::emulation
inline unsigned __float_as_uint(float x) { return noisysgd::emulation::bit_copy<unsigned>(x); }
inline int __float_as_int(float x) { return noisysgd::emulation::bit_copy<int>(x); }
inline float __uint_as_float(unsigned x) { return noisysgd::emulation::bit_copy<float>(x); }
inline float __int_as_float(int x) { return noisysgd::emulation::bit_copy<float>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(Wide(a) * b >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }

#define NSGD_MIN_MAX(type)                                  \
  inline type min(type a, type b) { return b < a ? b : a; } \
  inline type max(type a, type b) { return a < b ? b : a; }
NSGD_MIN_MAX(int)
NSGD_MIN_MAX(unsigned)
NSGD_MIN_MAX(long)
NSGD_MIN_MAX(unsigned long)
NSGD_MIN_MAX(long long)
NSGD_MIN_MAX(unsigned long long)
#undef NSGD_MIN_MAX
// A number wins over NaN, as on the GPU.
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }

[[noreturn]] inline void __trap(NSGD_EMULATION_HERE) { noisysgd::emulation::fail("__trap()", file, line); }
