#include "kernels/vector.h"

#include <algorithm>
#include <vector>

#include "kernels/parallel.h"
#include "kernels/target_clones.h"

namespace noisysgd::kernels::cpu {
namespace {

constexpr int64_t grain = 16384;  // elements that are worth a thread
constexpr int64_t block = 4096;   // elements of one partial sum

NSGD_TARGET_CLONES double squares_of(const float* x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

NSGD_TARGET_CLONES void average_into(const float* x, int64_t n, float decay, float* average) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) average[i] += (1 - decay) * (x[i] - average[i]);
}

}  // namespace

double sum_of_squares(Queue& queue, int64_t n, const float* x) {
  const int64_t blocks = (n + block - 1) / block;
  std::vector<double> partial(static_cast<size_t>(blocks));
  parallel_blocks(queue, blocks, n, [&](int64_t b, int64_t) {
    partial[static_cast<size_t>(b)] = squares_of(x + b * block, std::min(block, n - b * block));
  });
  double sum = 0;
  for (const double value : partial) sum += value;
  return sum;
}

void moving_average(Queue& queue, int64_t n, float decay, const float* x, float* average) {
  parallel_ranges(queue, n, grain,
                  [&](int64_t first, int64_t last) { average_into(x + first, last - first, decay, average + first); });
}

}  // namespace noisysgd::kernels::cpu
