#include <noisysgd/bench/fma_peak.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <noisysgd/kernels/simd/simd_kernels.h>

namespace noisysgd::bench {

namespace {

// Each chain x = x * factor + term tends to 1, so nothing overflows or becomes denormal. There are as many chains as
// registers allow, which is more than latency times units.
constexpr float factor = 0.999999f, term = 1e-6f;

// Each loop returns a value that depends on every chain, and performs operations_per_repeat per repeat. The chains
// start at different multiples of `first`: the compiler would compute equal chains once.
struct Loop {
  float (*run)(int64_t repeats, float first);
  double operations_per_repeat;
};

float portable_loop(int64_t repeats, float first) {
  constexpr int chains = 12;
  typedef float Vector __attribute__((vector_size(16)));
  Vector x[chains];
  for (int c = 0; c < chains; ++c) x[c] = Vector{} + first * static_cast<float>(c);
  for (int64_t i = 0; i < repeats; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < chains; ++c) x[c] = x[c] * factor + term;
  }
  float sum = 0;
  for (const Vector& chain : x) sum += chain[0] + chain[1] + chain[2] + chain[3];
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) float avx2_loop(int64_t repeats, float first) {
  constexpr int chains = 12;
  const __m256 factors = _mm256_set1_ps(factor), terms = _mm256_set1_ps(term);
  __m256 x[chains];
  for (int c = 0; c < chains; ++c) x[c] = _mm256_set1_ps(first * static_cast<float>(c));
  for (int64_t i = 0; i < repeats; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < chains; ++c) x[c] = _mm256_fmadd_ps(x[c], factors, terms);
  }
  for (int c = 1; c < chains; ++c) x[0] = _mm256_add_ps(x[0], x[c]);
  return _mm256_cvtss_f32(x[0]);
}

__attribute__((target("avx512f"))) float avx512_loop(int64_t repeats, float first) {
  constexpr int chains = 24;
  const __m512 factors = _mm512_set1_ps(factor), terms = _mm512_set1_ps(term);
  __m512 x[chains];
  for (int c = 0; c < chains; ++c) x[c] = _mm512_set1_ps(first * static_cast<float>(c));
  for (int64_t i = 0; i < repeats; ++i) {
#pragma GCC unroll 24
    for (int c = 0; c < chains; ++c) x[c] = _mm512_fmadd_ps(x[c], factors, terms);
  }
  for (int c = 1; c < chains; ++c) x[0] = _mm512_add_ps(x[0], x[c]);
  return _mm512_cvtss_f32(x[0]);
}
#endif

Loop loop_of(std::string_view isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return {avx512_loop, 24 * 16 * 2};
  if (isa == "avx2") return {avx2_loop, 12 * 8 * 2};
#endif
  (void)isa;
  return {portable_loop, 12 * 4 * 2};
}

}  // namespace

double fma_peak(int threads, int rounds) {
  constexpr int64_t repeats = 2'000'000;
  const Loop loop = loop_of(kernels::simd::simd_kernels().name);
  std::vector<float> results(static_cast<size_t>(threads) * 16);  // one cache line each; results keep the loops alive
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int thread = 0; thread < threads; ++thread) {
      volatile float* result = &results[static_cast<size_t>(thread) * 16];
      *result = loop.run(repeats, *result + 0.01f);
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::max(best, threads * loop.operations_per_repeat * static_cast<double>(repeats) / elapsed.count());
  }
  return best;
}

}  // namespace noisysgd::bench
