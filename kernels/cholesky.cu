#include "kernels/cholesky.h"

#include <vector>

#include "kernels/memory.h"

namespace noisysgd::kernels::cuda {

// On the host, by LAPACK: factors are refreshed every so many steps, and double precision is what counts.
void cholesky(Queue& queue, int64_t n, float scale, double jitter, const float* a, float* lower) {
  const size_t bytes = sizeof(float) * static_cast<size_t>(n * n);
  std::vector<float> matrix(static_cast<size_t>(n * n));
  copy_to_host(queue, bytes, a, matrix.data());
  Queue host({}, queue.threads());
  cpu::cholesky(host, n, scale, jitter, matrix.data(), matrix.data());
  copy_from_host(queue, bytes, matrix.data(), lower);
}

}  // namespace noisysgd::kernels::cuda
