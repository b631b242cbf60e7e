#include <noisysgd/kernels/cholesky.h>

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include <noisysgd/kernels/parallel.h>

extern "C" void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info);  // LAPACK, in OpenBLAS

namespace noisysgd::kernels::cpu {

void cholesky(Queue& queue, int64_t n, float scale, double jitter, const float* a, float* lower) {
  double trace = 0;
  for (int64_t i = 0; i < n; ++i) trace += double{scale} * a[i * n + i];
  NSGD_CHECK(std::isfinite(trace) && trace >= 0, "cholesky: a matrix of size {} has trace {}", n, trace);
  if (trace == 0) {
    std::fill_n(lower, n * n, 0.0f);
    return;
  }
  const LibraryThreads threads(queue);
  const int size = static_cast<int>(n);
  const std::vector<float> source(a, a + n * n);
  std::vector<double> factor(source.size());
  for (const double relative : cholesky_jitters(jitter)) {
    for (size_t i = 0; i < source.size(); ++i) factor[i] = double{scale} * source[i];
    for (int64_t i = 0; i < n; ++i) factor[i * n + i] += relative * trace / static_cast<double>(n);
    int info = 0;
    dpotrf_("U", &size, factor.data(), &size, &info);  // the upper triangle by columns is the lower one by rows
    if (info != 0) continue;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) lower[i * n + j] = j <= i ? static_cast<float>(factor[i * n + j]) : 0.0f;
    return;
  }
  throw Error(fmt::format("cholesky: a matrix of size {} is not positive semidefinite", n));
}

}  // namespace noisysgd::kernels::cpu
