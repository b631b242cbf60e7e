#include "swish_op.h"

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/reduce.h>

namespace swish_ops::cuda {

using namespace noisysgd::kernels::cuda;

namespace {

__device__ float logistic(float x) { return 1 / (1 + expf(-x)); }

__global__ void __launch_bounds__(block_threads)
    swish_forward_kernel(int64_t n, const float* b, const float* x, float* y) {
  grid_stride(n, [&](int64_t i) { y[i] = x[i] * logistic(*b * x[i]); });
}

// A block computes one sample after the other. All of its threads reach the barriers of sum_block.
__global__ void __launch_bounds__(block_threads)
    swish_backward_kernel(int64_t samples, int64_t features, const float* b, const float* x, const float* grad_y,
                          float* grad_x, float* grad_b) {
  for (int64_t m = blockIdx.x; m < samples; m += gridDim.x) {
    float sum = 0;
    for (int64_t i = m * features + threadIdx.x; i < (m + 1) * features; i += block_threads) {
      const float s = logistic(*b * x[i]), slope = x[i] * s * (1 - s);
      grad_x[i] = grad_y[i] * (s + *b * slope);
      sum += grad_y[i] * x[i] * slope;
    }
    sum = sum_block<block_threads>(sum);
    if (threadIdx.x == 0) grad_b[m] = sum;
  }
}

}  // namespace

void swish_forward(Queue& queue, int64_t n, const float* b, const float* x, float* y) {
  if (n > 0) launch(queue, swish_forward_kernel, grid_size(n), block_threads, 0, n, b, x, y);
}

void swish_backward(Queue& queue, int64_t samples, int64_t features, const float* b, const float* x,
                    const float* grad_y, float* grad_x, float* grad_b) {
  if (samples == 0) return;
  const auto blocks = static_cast<unsigned>(std::min(samples, busy_blocks));
  launch(queue, swish_backward_kernel, blocks, block_threads, 0, samples, features, b, x, grad_y, grad_x, grad_b);
}

}  // namespace swish_ops::cuda
