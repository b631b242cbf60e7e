#include <noisysgd/kernels/gemm.h>

#include <cblas.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <limits>

#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/scratch.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels::cpu {
namespace {

NSGD_TARGET_CLONES void square(const float* x, int64_t n, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * x[i];
}

}  // namespace

void gemm(Queue& queue, Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
          const float* a, const float* b, float beta, float* c) {
  constexpr int64_t largest = std::numeric_limits<blasint>::max();
  NSGD_CHECK(m >= 0 && n >= 0 && k >= 0 && m <= largest && n <= largest && k <= largest,
             "gemm: sizes m={} n={} k={} must lie in 0..{}", m, n, k, largest);
  if (m == 0 || n == 0) return;
  if (k == 0) {  // an empty sum; oneDNN refuses it
    for (int64_t i = 0; i < m * n; ++i) c[i] = beta == 0.0f ? 0.0f : beta * c[i];
    return;
  }
  const LibraryThreads threads(queue);
  const bool flip_a = transpose_a == Transpose::yes, flip_b = transpose_b == Transpose::yes;
  const auto leading = [](int64_t columns) { return std::max<int64_t>(columns, 1); };
  const int64_t lda = leading(flip_a ? m : k), ldb = leading(flip_b ? k : n), ldc = leading(n);
#if defined(__x86_64__)
  // OpenBLAS chooses its kernels from a list of processors and falls back to SSE for unknown ones: Debian 12's 0.3.21
  // runs at a quarter of the speed on recent Xeons. oneDNN checks the instruction sets instead.
  const dnnl_status_t status =
      dnnl_sgemm(flip_a ? 'T' : 'N', flip_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  NSGD_CHECK(status == dnnl_success, "gemm: oneDNN refused m={} n={} k={} (status {})", m, n, k,
             static_cast<int>(status));
#else
  openblas_set_num_threads(queue.threads());
  cblas_sgemm(CblasRowMajor, flip_a ? CblasTrans : CblasNoTrans, flip_b ? CblasTrans : CblasNoTrans,
              static_cast<blasint>(m), static_cast<blasint>(n), static_cast<blasint>(k), alpha, a,
              static_cast<blasint>(lda), b, static_cast<blasint>(ldb), beta, c, static_cast<blasint>(ldc));
#endif
}

void linear_second_moment(Queue& queue, int64_t samples, int64_t outputs, int64_t inputs, const float* x,
                          const float* grad_y, float* second_moment) {
  if (samples == 0 || outputs == 0 || inputs == 0) return;
  // A block must be long enough that its product outweighs reading and writing second_moment, and not longer.
  const int64_t fitting = (int64_t{1} << 20) / (inputs + outputs);
  const int64_t block = std::min(samples, std::max<int64_t>(256, fitting));
  Scratch scratch(queue);
  float* const x_squared = scratch.take<float>(block * inputs);
  float* const grad_squared = scratch.take<float>(block * outputs);
  for (int64_t first = 0; first < samples; first += block) {
    const int64_t count = std::min(block, samples - first);
    parallel_ranges(queue, count * inputs, 32768, [&](int64_t begin, int64_t end) {
      square(x + first * inputs + begin, end - begin, x_squared + begin);
    });
    parallel_ranges(queue, count * outputs, 32768, [&](int64_t begin, int64_t end) {
      square(grad_y + first * outputs + begin, end - begin, grad_squared + begin);
    });
    gemm(queue, Transpose::yes, Transpose::no, outputs, inputs, count, 1.0f, grad_squared, x_squared, 1.0f,
         second_moment);
  }
}

}  // namespace noisysgd::kernels::cpu
