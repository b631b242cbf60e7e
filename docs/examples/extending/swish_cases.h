// The ops of swish_op.h with their formulas in fp64, for the test and for the benchmark.
#pragma once

#include <cmath>

#include <noisysgd/bench/case.h>
#include "swish_op.h"

namespace swish_ops {

inline double logistic64(double x) { return 1 / (1 + std::exp(-x)); }

inline noisysgd::bench::Case forward_case(int64_t n) {
  using enum noisysgd::bench::Use;
  noisysgd::bench::Case swish{.name = "swish forward", .arrays = {{{1}}, {{n}}, {{n}, write}}};
  swish.flops = 4.0 * static_cast<double>(n);  // an exponential counts as one
  swish.op = [](noisysgd::Context& context, std::span<const noisysgd::Tensor> a) {
    swish_forward(context.queue, a[1].elements(), a[0].f32(), a[1].f32(), a[2].f32());
  };
  swish.reference = [](std::span<std::vector<double>> a) {
    const double b = a[0][0];
    for (size_t i = 0; i < a[1].size(); ++i) a[2][i] = a[1][i] * logistic64(b * a[1][i]);
  };
  return swish;
}

inline noisysgd::bench::Case backward_case(int64_t samples, int64_t features) {
  using enum noisysgd::bench::Use;
  noisysgd::bench::Case swish{
      .name = "swish backward",
      .arrays = {
          {{1}}, {{samples, features}}, {{samples, features}}, {{samples, features}, write}, {{samples}, write}}};
  swish.flops = 13.0 * static_cast<double>(samples * features);
  swish.op = [](noisysgd::Context& context, std::span<const noisysgd::Tensor> a) {
    const noisysgd::Shape& shape = a[1].shape();
    swish_backward(context.queue, shape[0], shape[1], a[0].f32(), a[1].f32(), a[2].f32(), a[3].f32(), a[4].f32());
  };
  swish.reference = [=](std::span<std::vector<double>> a) {
    const double b = a[0][0];
    a[4].assign(a[4].size(), 0);
    for (size_t i = 0; i < a[1].size(); ++i) {
      const double x = a[1][i], grad = a[2][i], s = logistic64(b * x);
      a[3][i] = grad * (s + b * x * s * (1 - s));
      a[4][i / static_cast<size_t>(features)] += grad * x * x * s * (1 - s);
    }
  };
  return swish;
}

}  // namespace swish_ops
