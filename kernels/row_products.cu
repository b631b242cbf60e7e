#include <noisysgd/kernels/row_products.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>
#include <noisysgd/kernels/cuda/reduce.h>

namespace noisysgd::kernels::cuda {
namespace {

constexpr int rows_per_block = block_threads / warp_lanes;

// The place of the first maximum of a row, the same in every lane.
__device__ int64_t row_argmax(const float* z, int64_t classes, int lane) {
  float best = -INFINITY;
  int64_t where = classes;
  for (int64_t k = lane; k < classes; k += warp_lanes)
    if (z[k] > best || where == classes) {
      best = z[k];
      where = k;
    }
  for (int distance = warp_lanes / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(full_mask, best, distance);
    const int64_t other_where = __shfl_xor_sync(full_mask, where, distance);
    if (other_where == classes) continue;  // a lane without a class
    if (where == classes || other > best || (other == best && other_where < where)) {
      best = other;
      where = other_where;
    }
  }
  return __shfl_sync(full_mask, where, 0);
}

// A warp takes a row; the formula is that of row_products.cpp.
__global__ void __launch_bounds__(block_threads)
    softmax_curvature_kernel(int64_t samples, int64_t classes, const float* logits, const float* tangent,
                             float* product) {
  const int warp = static_cast<int>(threadIdx.x) / warp_lanes, lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const int64_t n = int64_t{blockIdx.x} * rows_per_block + warp;
  if (n >= samples) return;
  const float *z = logits + n * classes, *t = tangent + n * classes;
  const int64_t argmax = row_argmax(z, classes, lane);
  double tail = 0, sum = 0;
  for (int64_t k = lane; k < classes; k += warp_lanes) {
    if (k == argmax) continue;
    const double e = expf(z[k] - z[argmax]);
    tail += e;
    sum += e * (double{t[k]} - t[argmax]);
  }
  tail = sum_lanes(tail);
  sum = sum_lanes(sum);
  const double total = 1.0 + tail, mean = sum / total;
  for (int64_t k = lane; k < classes; k += warp_lanes)
    product[n * classes + k] = static_cast<float>(
        k == argmax ? -mean / total : expf(z[k] - z[argmax]) / total * (double{t[k]} - t[argmax] - mean));
}

__global__ void __launch_bounds__(block_threads)
    outer_product_kernel(int64_t samples, int64_t classes, const float* gradient, const float* tangent,
                         float* product) {
  const int warp = static_cast<int>(threadIdx.x) / warp_lanes, lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const int64_t n = int64_t{blockIdx.x} * rows_per_block + warp;
  if (n >= samples) return;
  const float *g = gradient + n * classes, *t = tangent + n * classes;
  double sum = 0;
  for (int64_t k = lane; k < classes; k += warp_lanes) sum += double{g[k]} * t[k];
  sum = sum_lanes(sum);
  for (int64_t k = lane; k < classes; k += warp_lanes) product[n * classes + k] = static_cast<float>(g[k] * sum);
}

unsigned row_grid(int64_t samples) { return static_cast<unsigned>(divide_up(samples, rows_per_block)); }

}  // namespace

void softmax_curvature(Queue& queue, int64_t samples, int64_t classes, const float* logits, const float* tangent,
                       float* product) {
  NSGD_CHECK(samples == 0 || classes > 0, "softmax_curvature: {} classes", classes);
  if (samples > 0)
    launch(queue, softmax_curvature_kernel, row_grid(samples), block_threads, 0, samples, classes, logits, tangent,
           product);
}

void outer_product(Queue& queue, int64_t samples, int64_t classes, const float* gradient, const float* tangent,
                   float* product) {
  if (samples > 0)
    launch(queue, outer_product_kernel, row_grid(samples), block_threads, 0, samples, classes, gradient, tangent,
           product);
}

}  // namespace noisysgd::kernels::cuda
