#include "kernels/vector.h"

#include "kernels/cuda/grid.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.h"
#include "kernels/memory.h"

namespace noisysgd::kernels::cuda {
namespace {

// partial[gridDim.x]: the blocks' shares of sum_i x_i^2
__global__ void __launch_bounds__(block_threads) sum_of_squares_kernel(int64_t n, const float* x, double* partial) {
  double sum = 0;
  grid_stride(n, [&](int64_t i) { sum += static_cast<double>(x[i]) * static_cast<double>(x[i]); });
  sum = sum_block<block_threads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// total = the sum of all partial sums, by one block
__global__ void __launch_bounds__(block_threads) sum_partials_kernel(int64_t n, const double* partial, double* total) {
  double sum = 0;
  grid_stride(n, [&](int64_t i) { sum += partial[i]; });
  sum = sum_block<block_threads>(sum);
  if (threadIdx.x == 0) *total = sum;
}

__global__ void __launch_bounds__(block_threads)
    moving_average_kernel(int64_t n, float decay, const float* x, float* average) {
  grid_stride(n, [&](int64_t i) { average[i] += (1 - decay) * (x[i] - average[i]); });
}

}  // namespace

double sum_of_squares(Queue& queue, int64_t n, const float* x) {
  if (n == 0) return 0;
  const unsigned blocks = grid_size(n);
  auto* const partial = static_cast<double*>(queue.workspace(sizeof(double) * (blocks + 1)));
  launch(queue, sum_of_squares_kernel, blocks, block_threads, 0, n, x, partial);
  launch(queue, sum_partials_kernel, 1u, block_threads, 0, static_cast<int64_t>(blocks),
         static_cast<const double*>(partial), partial + blocks);
  double sum = 0;
  copy_to_host(queue, sizeof sum, partial + blocks, &sum);
  return sum;
}

void moving_average(Queue& queue, int64_t n, float decay, const float* x, float* average) {
  if (n > 0) launch(queue, moving_average_kernel, grid_size(n), block_threads, 0, n, decay, x, average);
}

}  // namespace noisysgd::kernels::cuda
