// Memory operations, atomics and arithmetic of device code that a host compiler lacks, under CUDA's names.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include <noisysgd/kernels/emulation/scheduler.h>

// ---- memory ----
// One OS thread runs everything, so only the compiler has to keep the order.
inline void __threadfence() { asm volatile("" ::: "memory"); }

// ---- atomics ----
namespace noisysgd::emulation {

// Replaces *pointer by update(*pointer) and returns the old value.
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
inline unsigned atomicInc(unsigned* pointer, unsigned last) {
  return noisysgd::emulation::atomic_update<uint32_t>(pointer,
                                                      [last](unsigned old) { return old >= last ? 0 : old + 1; });
}

// ---- arithmetic ----
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
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
inline float __uint_as_float(unsigned x) { return noisysgd::emulation::bit_copy<float>(x); }

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
// If one argument is NaN, the other one is the result, as on the GPU.
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
