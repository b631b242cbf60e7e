#include "kernels/reduce.h"

#include "kernels/cuda/grid.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.h"
#include "kernels/memory.h"

namespace noisysgd::kernels::cuda {
namespace {

// partial[gridDim.x]: each block's share
__global__ void __launch_bounds__(block_threads) tensor_sums_kernel(int64_t n, const float* x, TensorSums* partial) {
  TensorSums sums;
  grid_stride(n, [&](int64_t i) {
    const double value = x[i];
    sums.sum += value;
    sums.sum_of_squares += value * value;
  });
  sums.sum = sum_block<block_threads>(sums.sum);
  sums.sum_of_squares = sum_block<block_threads>(sums.sum_of_squares);
  if (threadIdx.x == 0) partial[blockIdx.x] = sums;
}

// total = the sum of all shares, by one block
__global__ void __launch_bounds__(block_threads)
    total_sums_kernel(int64_t blocks, const TensorSums* partial, TensorSums* total) {
  TensorSums sums;
  grid_stride(blocks, [&](int64_t i) {
    sums.sum += partial[i].sum;
    sums.sum_of_squares += partial[i].sum_of_squares;
  });
  sums.sum = sum_block<block_threads>(sums.sum);
  sums.sum_of_squares = sum_block<block_threads>(sums.sum_of_squares);
  if (threadIdx.x == 0) *total = sums;
}

}  // namespace

void tensor_sums(Queue& queue, int64_t n, const float* x, TensorSums* sums) {
  if (n == 0) return;
  const unsigned blocks = grid_size(n);
  auto* const partial = static_cast<TensorSums*>(queue.workspace(sizeof(TensorSums) * (blocks + 1)));
  launch(queue, tensor_sums_kernel, blocks, block_threads, 0, n, x, partial);
  launch(queue, total_sums_kernel, 1u, block_threads, 0, static_cast<int64_t>(blocks), partial, partial + blocks);
  TensorSums total;
  copy_to_host(queue, sizeof total, partial + blocks, &total);
  sums->sum += total.sum;
  sums->sum_of_squares += total.sum_of_squares;
}

}  // namespace noisysgd::kernels::cuda
