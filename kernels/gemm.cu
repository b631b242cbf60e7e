#include <noisysgd/kernels/gemm.h>

#include <limits>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/state.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cuda {
namespace {

__global__ void __launch_bounds__(block_threads) square_kernel(int64_t n, const float* x, float* y) {
  grid_stride(n, [&](int64_t i) { y[i] = x[i] * x[i]; });
}

cublasComputeType_t compute_type(Precision precision) {
  return precision == Precision::fp32 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32;
}

// cuBLAS is column-major: our row-major C = op(A) op(B) is its C^T = op(B)^T op(A)^T, on the same memory.
void multiply(Queue& queue, Precision precision, Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n,
              int64_t k, float alpha, const float* a, const float* b, float beta, float* c) {
  constexpr int64_t largest = std::numeric_limits<int>::max();
  NSGD_CHECK(m >= 0 && n >= 0 && k >= 0 && m <= largest && n <= largest && k <= largest,
             "gemm: sizes m={} n={} k={} must lie in 0..{}", m, n, k, largest);
  if (m == 0 || n == 0) return;
  const bool flip_a = transpose_a == Transpose::yes, flip_b = transpose_b == Transpose::yes;
  const auto leading = [](int64_t columns) { return static_cast<int>(std::max<int64_t>(columns, 1)); };
  NSGD_CUBLAS_CHECK(queue.with_reserve(CUBLAS_STATUS_ALLOC_FAILED, [&] {
    return cublasGemmEx(queue.cuda().cublas(), flip_b ? CUBLAS_OP_T : CUBLAS_OP_N, flip_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                        static_cast<int>(n), static_cast<int>(m), static_cast<int>(k), &alpha, b, CUDA_R_32F,
                        leading(flip_b ? k : n), a, CUDA_R_32F, leading(flip_a ? m : k), &beta, c, CUDA_R_32F,
                        leading(n), compute_type(precision), CUBLAS_GEMM_DEFAULT);
  }));
}

}  // namespace

void gemm(Queue& queue, Transpose transpose_a, Transpose transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
          const float* a, const float* b, float beta, float* c) {
  multiply(queue, queue.precision(), transpose_a, transpose_b, m, n, k, alpha, a, b, beta, c);
}

void linear_second_moment(Queue& queue, int64_t samples, int64_t outputs, int64_t inputs, const float* x,
                          const float* grad_y, float* second_moment) {
  if (samples == 0 || outputs == 0 || inputs == 0) return;
  constexpr int64_t block_floats = int64_t{1} << 24;  // of squares at a time, enough for a large batch in one product
  const int64_t block = std::clamp<int64_t>(block_floats / (inputs + outputs), 1, samples);
  Scratch scratch(queue);
  const auto [x_squared, grad_squared] = scratch.take<float, float>(block * inputs, block * outputs);
  for (int64_t first = 0; first < samples; first += block) {
    const int64_t count = std::min(block, samples - first);
    launch(queue, square_kernel, grid_size(count * inputs), block_threads, 0, count * inputs, x + first * inputs,
           x_squared);
    launch(queue, square_kernel, grid_size(count * outputs), block_threads, 0, count * outputs,
           grad_y + first * outputs, grad_squared);
    multiply(queue, queue.precision(), Transpose::yes, Transpose::no, outputs, inputs, count, 1.0f, grad_squared, x_squared,
             1.0f, second_moment);
  }
}

}  // namespace noisysgd::kernels::cuda
