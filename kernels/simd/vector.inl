// Basic operations of the vectorised kernels on vectors of float and of 32- and 64-bit integers, NSGD_VECTOR_BYTES
// bytes long. They use the compiler's vector extensions, and intrinsics only where these lack an operation. Everything
// is internal to the including translation unit (kernels.inl), and nothing here calls a shared function.
#pragma once

#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define NSGD_INLINE inline __attribute__((always_inline))

namespace noisysgd::kernels::simd {
namespace {

constexpr int lanes = NSGD_VECTOR_BYTES / 4;

typedef float Float __attribute__((vector_size(NSGD_VECTOR_BYTES)));
typedef int32_t Int __attribute__((vector_size(NSGD_VECTOR_BYTES)));
typedef uint32_t Word __attribute__((vector_size(NSGD_VECTOR_BYTES)));
typedef uint64_t Long __attribute__((vector_size(NSGD_VECTOR_BYTES)));
typedef double Double __attribute__((vector_size(NSGD_VECTOR_BYTES)));
typedef float HalfFloat __attribute__((vector_size(NSGD_VECTOR_BYTES / 2)));

template <class Vector, class Scalar>
NSGD_INLINE Vector load(const Scalar* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}
template <class Vector, class Scalar>
NSGD_INLINE void store(Scalar* to, Vector vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}

NSGD_INLINE Float splat(float value) { return value - Float{}; }
NSGD_INLINE Int splat(int32_t value) { return value + Int{}; }
NSGD_INLINE Word splat(uint32_t value) { return value + Word{}; }

// Vector casts reinterpret bits; this one converts values.
NSGD_INLINE Float to_float(Int value) { return __builtin_convertvector(value, Float); }

NSGD_INLINE Float select(Int mask, Float yes, Float no) { return (Float)((mask & (Int)yes) | (~mask & (Int)no)); }

// a b + c, fused if the instruction set supports it; an explicit function, because contraction is off in this project.
NSGD_INLINE Float multiply_add(Float a, Float b, Float c) {
#if NSGD_VECTOR_BYTES == 64
  return _mm512_fmadd_ps(a, b, c);
#elif NSGD_VECTOR_BYTES == 32
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

NSGD_INLINE Float square_root(Float x) {
#if NSGD_VECTOR_BYTES == 64
  return _mm512_maskz_sqrt_ps(0xFFFF, x);
#elif NSGD_VECTOR_BYTES == 32
  return _mm256_sqrt_ps(x);
#elif defined(__SSE2__)
  return _mm_sqrt_ps(x);
#else
  for (int i = 0; i < lanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}

// The 64-bit products of the low halves; the high halves of a and b are ignored.
NSGD_INLINE Long multiply_low_halves(Long a, Long b) {
#if NSGD_VECTOR_BYTES == 64
  return (Long)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);
#elif NSGD_VECTOR_BYTES == 32
  return (Long)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (Long)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

// Interleaves to {a0,b0,a1,b1,…}: `first` and `second` are the halves of the result.
template <class Vector>
NSGD_INLINE void interleave(Vector a, Vector b, Vector& first, Vector& second) {
#if NSGD_VECTOR_BYTES == 64
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  first = (Vector)_mm512_permutex2var_epi32((__m512i)a, low, (__m512i)b);
  second = (Vector)_mm512_permutex2var_epi32((__m512i)a, high, (__m512i)b);
#elif NSGD_VECTOR_BYTES == 32
  const __m256i low = _mm256_unpacklo_epi32((__m256i)a, (__m256i)b);
  const __m256i high = _mm256_unpackhi_epi32((__m256i)a, (__m256i)b);
  first = (Vector)_mm256_permute2x128_si256(low, high, 0x20);
  second = (Vector)_mm256_permute2x128_si256(low, high, 0x31);
#else
  first = Vector{a[0], b[0], a[1], b[1]};
  second = Vector{a[2], b[2], a[3], b[3]};
#endif
}

NSGD_INLINE double horizontal_sum(Double x) {
  double sum = 0;
  for (int i = 0; i < lanes / 2; ++i) sum += x[i];
  return sum;
}

}  // namespace
}  // namespace noisysgd::kernels::simd
