#include <noisysgd/kernels/moving_average.h>

#include <noisysgd/kernels/cuda/arithmetic.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

__global__ void __launch_bounds__(block_threads)
    moving_average_kernel(int64_t n, float decay, const float* x, float* average) {
  grid_stride(n, [&](int64_t i) { average[i] = multiply_then_add(1 - decay, x[i] - average[i], average[i]); });
}

}  // namespace

void moving_average(Queue& queue, int64_t n, float decay, const float* x, float* average) {
  if (n > 0) launch(queue, moving_average_kernel, grid_size(n), block_threads, 0, n, decay, x, average);
}

}  // namespace noisysgd::kernels::cuda
