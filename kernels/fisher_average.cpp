#include <noisysgd/kernels/fisher_average.h>

#include <noisysgd/kernels/parallel.h>

namespace noisysgd::kernels::cpu {

void fisher_average(Queue& queue, int64_t n, float second_moment_coefficient, float gradient_coefficient, float decay,
                    const float* second_moment, const float* gradient_sum, float* average) {
  parallel_ranges(queue, n, 16384, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const float raw =
          second_moment_coefficient * second_moment[i] + gradient_coefficient * gradient_sum[i] * gradient_sum[i];
      const float value = raw < 0 ? 0.0f : raw;  // NaN stays NaN
      average[i] = decay == 0 ? value : decay * average[i] + (1 - decay) * value;
    }
  });
}

}  // namespace noisysgd::kernels::cpu
