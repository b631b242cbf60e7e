#include <noisysgd/kernels/random.h>

#include <noisysgd/kernels/cuda/arithmetic.h>
#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

// x[4*block + lane] = values[lane] for the elements that x has
__device__ void store_block(int64_t n, int64_t block, const float (&values)[4], float* x) {
  for (int lane = 0; lane < 4; ++lane)
    if (4 * block + lane < n) x[4 * block + lane] = values[lane];
}

__global__ void __launch_bounds__(block_threads)
    random_normal_kernel(int64_t n, float mean, float standard_deviation, RandomStream stream, float* x) {
  grid_stride(divide_up(n, 4), [&](int64_t block) {
    float values[4];
    draw_normals(stream, static_cast<uint32_t>(block), values);
    for (float& value : values) value = multiply_then_add(value, standard_deviation, mean);
    store_block(n, block, values, x);
  });
}

__global__ void __launch_bounds__(block_threads)
    random_uniform_kernel(int64_t n, float low, float width, RandomStream stream, float* x) {
  grid_stride(divide_up(n, 4), [&](int64_t block) {
    const auto words = random_words(stream, static_cast<uint32_t>(block));
    float values[4];
    for (int lane = 0; lane < 4; ++lane) values[lane] = multiply_then_add(uniform_from_word(words[lane]), width, low);
    store_block(n, block, values, x);
  });
}

}  // namespace

void random_normal(Queue& queue, int64_t n, float mean, float standard_deviation, const RandomStream& stream,
                   float* x) {
  if (n > 0)
    launch(queue, random_normal_kernel, grid_size(divide_up(n, 4)), block_threads, 0, n, mean, standard_deviation,
           stream, x);
}

void random_uniform(Queue& queue, int64_t n, float low, float high, const RandomStream& stream, float* x) {
  if (n > 0)
    launch(queue, random_uniform_kernel, grid_size(divide_up(n, 4)), block_threads, 0, n, low, high - low, stream, x);
}

}  // namespace noisysgd::kernels::cuda
