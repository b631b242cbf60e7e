#include "tests/emulator/moving.h"

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/vector.h>

namespace noisysgd::test {

namespace {

using namespace kernels::cuda;

__global__ void copy_kernel(int64_t n, const float* x, float* y) {
  grid_stride(n, [&](int64_t i) { y[i] = x[i]; });
}
__global__ void copy_vectors_kernel(int64_t n, const float* x, float* y) {
  grid_stride(n / 4, [&](int64_t i) { store_vector(y + 4 * i, load_vector<4>(x + 4 * i)); });
}
__global__ void copy_by_shared_kernel(int64_t n, const float* x, float* y) {
  GPU_SHARED(float, buffer, [4 * block_threads]);
  float* const own = buffer + 4 * threadIdx.x;
  grid_stride(n / 4, [&](int64_t i) {
    __pipeline_memcpy_async(own, x + 4 * i, 16);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    store_vector(y + 4 * i, load_vector<4>(own));
  });
}
__global__ void double_in_place_kernel(int64_t n, float* x) {
  grid_stride(n, [&](int64_t i) { x[i] *= 2; });
}
__global__ void copy_thrice_kernel(int64_t n, const float* x, float* y) {
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) y[blockIdx.x * n + i] = x[i];
}
__global__ void every_16th_kernel(int64_t n, const float* x, float* y) {
  grid_stride(n, [&](int64_t i) { y[i] = x[16 * i]; });
}
__global__ void write_then_read_kernel(float* x, float* y) {
  x[threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  y[threadIdx.x] = x[threadIdx.x ^ 1];
}
__global__ void count_kernel(int64_t n, uint32_t* counter) {
  grid_stride(n, [&](int64_t) { atomicAdd(counter, 1u); });
}

}  // namespace

void copy(kernels::Queue& queue, int64_t n, const float* x, float* y) {
  launch(queue, copy_kernel, grid_size(n), block_threads, 0, n, x, y);
}
void copy_vectors(kernels::Queue& queue, int64_t n, const float* x, float* y) {
  launch(queue, copy_vectors_kernel, grid_size(n / 4), block_threads, 0, n, x, y);
}
void copy_by_shared(kernels::Queue& queue, int64_t n, const float* x, float* y) {
  launch(queue, copy_by_shared_kernel, grid_size(n / 4), block_threads, 0, n, x, y);
}
void double_in_place(kernels::Queue& queue, int64_t n, float* x) {
  launch(queue, double_in_place_kernel, grid_size(n), block_threads, 0, n, x);
}
void copy_thrice(kernels::Queue& queue, int64_t n, const float* x, float* y) {
  launch(queue, copy_thrice_kernel, 3u, block_threads, 0, n, x, y);
}
void every_16th(kernels::Queue& queue, int64_t n, const float* x, float* y) {
  launch(queue, every_16th_kernel, grid_size(n), block_threads, 0, n, x, y);
}
void write_then_read(kernels::Queue& queue, float* x, float* y) {
  launch(queue, write_then_read_kernel, 1u, 128u, 0, x, y);
}
void count(kernels::Queue& queue, int64_t n, uint32_t* counter) {
  launch(queue, count_kernel, grid_size(n), block_threads, 0, n, counter);
}

}  // namespace noisysgd::test
