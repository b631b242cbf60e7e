#include <noisysgd/kernels/fisher_average.h>

#include <noisysgd/kernels/cuda/grid.h>
#include <noisysgd/kernels/cuda/launch.h>

namespace noisysgd::kernels::cuda {
namespace {

__global__ void __launch_bounds__(block_threads)
    fisher_average_kernel(int64_t n, float second_moment_coefficient, float gradient_coefficient, float decay,
                          const float* second_moment, const float* gradient_sum, float* average) {
  grid_stride(n, [&](int64_t i) {
    const float raw =
        second_moment_coefficient * second_moment[i] + gradient_coefficient * gradient_sum[i] * gradient_sum[i];
    const float value = raw < 0 ? 0.0f : raw;  // NaN stays NaN
    average[i] = decay == 0 ? value : decay * average[i] + (1 - decay) * value;
  });
}

}  // namespace

void fisher_average(Queue& queue, int64_t n, float second_moment_coefficient, float gradient_coefficient, float decay,
                    const float* second_moment, const float* gradient_sum, float* average) {
  if (n > 0)
    launch(queue, fisher_average_kernel, grid_size(n), block_threads, 0, n, second_moment_coefficient,
           gradient_coefficient, decay, second_moment, gradient_sum, average);
}

}  // namespace noisysgd::kernels::cuda
