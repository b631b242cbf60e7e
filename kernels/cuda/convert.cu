#include <noisysgd/kernels/cuda/convert.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/ptx.h>

namespace noisysgd::kernels::cuda {
namespace {

__global__ void __launch_bounds__(block_threads) fp32_to_bf16_kernel(int64_t n, const float* x, uint16_t* y) {
  grid_stride(n, [&](int64_t i) { y[i] = static_cast<uint16_t>(ptx::round_to_bf16x2(x[i], 0) & 0xffffu); });
}

__global__ void __launch_bounds__(block_threads) bf16_to_fp32_kernel(int64_t n, const uint16_t* x, float* y) {
  grid_stride(n, [&](int64_t i) { y[i] = __uint_as_float(uint32_t{x[i]} << 16); });
}

}  // namespace

void fp32_to_bf16(Queue& queue, int64_t n, const float* x, uint16_t* y) {
  if (n > 0) launch(queue, fp32_to_bf16_kernel, grid_size(n), block_threads, 0, n, x, y);
}

void bf16_to_fp32(Queue& queue, int64_t n, const uint16_t* x, float* y) {
  if (n > 0) launch(queue, bf16_to_fp32_kernel, grid_size(n), block_threads, 0, n, x, y);
}

}  // namespace noisysgd::kernels::cuda
