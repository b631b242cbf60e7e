#include <noisysgd/kernels/step_factors.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/reduce.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int max_terms = 1024;

struct TermTable {
  int count = 0;
  ScalarTerm terms[max_terms];
};
static_assert(sizeof(TermTable) + 4 * sizeof(double) <= 32'764, "too many parameters");

// One block. restart: *total is not initialised yet.
__global__ void __launch_bounds__(block_threads)
    weighted_total_kernel(const __grid_constant__ TermTable table, double factor, double constant, bool restart,
                          double* total) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < table.count; i += block_threads) {
    const ScalarTerm& term = table.terms[i];
    sum += term.coefficient * (term.second ? *term.first * *term.second : *term.first);
  }
  sum = sum_block<block_threads>(sum);
  if (threadIdx.x == 0) *total = factor * (constant + sum) + (restart ? 0 : *total);
}

__global__ void mean_variance_kernel(double factor, double count, const double* total, float* variance) {
  const double value = factor * (*total / count);
  *variance = value < 0 ? 0.0f : static_cast<float>(value);  // NaN stays NaN
}

__global__ void match_factors_kernel(double scale, const double* wanted, const double* trace, float* variance,
                                     float* vector) {
  const double factor = scale * (*trace <= 0 ? 0 : sqrt(*wanted / *trace));
  *variance = static_cast<float>(factor * factor);
  *vector = static_cast<float>(factor);
}

__global__ void clip_factor_kernel(double samples, double limit, const double* sum_of_squares, double* factor) {
  const double norm = sqrt(*sum_of_squares) / samples;
  *factor = norm > limit ? limit / norm : 1;
}

}  // namespace

void weighted_total(Queue& queue, double factor, double constant, std::span<const ScalarTerm> terms, double* total) {
  TermTable table;
  bool restart = true;
  do {
    table.count = static_cast<int>(std::min<size_t>(terms.size(), max_terms));
    std::copy_n(terms.begin(), table.count, table.terms);
    terms = terms.subspan(static_cast<size_t>(table.count));
    launch(queue, weighted_total_kernel, 1u, block_threads, 0, table, factor, restart ? constant : 0.0, restart, total);
    restart = false;
  } while (!terms.empty());
}

void mean_variance(Queue& queue, double factor, double count, const double* total, float* variance) {
  launch(queue, mean_variance_kernel, 1u, 1u, 0, factor, count, total, variance);
}

void match_factors(Queue& queue, double scale, const double* wanted, const double* trace, float* variance,
                   float* vector) {
  launch(queue, match_factors_kernel, 1u, 1u, 0, scale, wanted, trace, variance, vector);
}

void clip_factor(Queue& queue, double samples, double limit, const double* sum_of_squares, double* factor) {
  launch(queue, clip_factor_kernel, 1u, 1u, 0, samples, limit, sum_of_squares, factor);
}

}  // namespace noisysgd::kernels::cuda
