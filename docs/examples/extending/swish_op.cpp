#include "swish_op.h"

#include <cmath>

#include <noisysgd/kernels/parallel.h>

namespace swish_ops::cpu {
namespace {

constexpr int64_t grain = 4096;  // elements per thread that are worth starting it

float logistic(float x) { return 1 / (1 + std::exp(-x)); }

}  // namespace

void swish_forward(Queue& queue, int64_t n, const float* b, const float* x, float* y) {
  noisysgd::kernels::cpu::parallel_ranges(queue, n, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) y[i] = x[i] * logistic(*b * x[i]);
  });
}

void swish_backward(Queue& queue, int64_t samples, int64_t features, const float* b, const float* x,
                    const float* grad_y, float* grad_x, float* grad_b) {
  noisysgd::kernels::cpu::parallel_blocks(queue, samples, samples * features, [&](int64_t m, int64_t) {
    float sum = 0;
    for (int64_t i = m * features; i < (m + 1) * features; ++i) {
      const float s = logistic(*b * x[i]), slope = x[i] * s * (1 - s);
      grad_x[i] = grad_y[i] * (s + *b * slope);
      sum += grad_y[i] * x[i] * slope;
    }
    grad_b[m] = sum;
  });
}

}  // namespace swish_ops::cpu
