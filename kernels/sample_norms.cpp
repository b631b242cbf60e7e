#include <noisysgd/kernels/sample_norms.h>

#include <algorithm>

#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/parallel.h>
#include <noisysgd/kernels/reduce.h>
#include <noisysgd/kernels/scratch.h>

namespace noisysgd::kernels::cpu {
namespace {

double sum_of_squares(int64_t n, const float* x) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{x[i]} * x[i];
  return sum;
}

}  // namespace

void sample_norms(Queue& queue, int64_t samples, int64_t outputs, const float* y, int64_t inputs, const float* x,
                  float* norms) {
  parallel_blocks(queue, samples, samples * (outputs + (x ? inputs : 0)), [&](int64_t n, int64_t) {
    const double of_x = x ? sum_of_squares(inputs, x + n * inputs) : 1;
    norms[n] += static_cast<float>(sum_of_squares(outputs, y + n * outputs) * of_x);
  });
}

void conv_sample_norms(Queue& queue, const ConvShape& shape, const float* x, const float* grad_y, float* norms) {
  check(shape);
  ConvShape one = shape;
  one.batch = 1;
  const int64_t x_sample = shape.height * shape.width * shape.in_channels;
  const int64_t y_sample = shape.positions() * shape.out_channels;
  Scratch scratch(queue);
  float* const gradient = scratch.take<float>(shape.weights());
  for (int64_t n = 0; n < shape.batch; ++n) {
    std::fill_n(gradient, shape.weights(), 0.0f);
    conv_sample_sums(queue, one, x + n * x_sample, grad_y + n * y_sample, {}, gradient);
    const SummedTensor summed{shape.weights(), gradient};
    double sums[2];
    tensor_sums(queue, {&summed, 1}, 1, sums);
    norms[n] += static_cast<float>(sums[1]);
  }
}

}  // namespace noisysgd::kernels::cpu
