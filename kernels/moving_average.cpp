#include <noisysgd/kernels/moving_average.h>

#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels::cpu {
namespace {

constexpr int64_t grain = 16384;  // elements per thread that are worth starting it

NSGD_TARGET_CLONES void average_into(const float* x, int64_t n, float decay, float* average) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) average[i] += (1 - decay) * (x[i] - average[i]);
}

}  // namespace

void moving_average(Queue& queue, int64_t n, float decay, const float* x, float* average) {
  parallel_ranges(queue, n, grain,
                  [&](int64_t first, int64_t last) { average_into(x + first, last - first, decay, average + first); });
}

}  // namespace noisysgd::kernels::cpu
