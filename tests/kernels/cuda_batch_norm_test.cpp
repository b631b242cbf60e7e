// Batch normalisation on the CUDA device against the CPU, which other tests compare with fp64 references.
#include <noisysgd/kernels/batch_norm.h>

#include <cmath>

#include "tests/catch.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

// The factor by which grad_x is smaller than scale grad, from which two means are subtracted. For two samples with one
// position almost nothing remains, and rounding errors are larger relative to it. grad: of the normalised output.
double cancellation(const BatchNormShape& s, const std::vector<float>& gamma, const std::vector<float>& inverse_std,
                    const std::vector<float>& grad, const std::vector<float>& grad_x) {
  double whole = 0, left = 0;
  for (size_t i = 0; i < grad.size(); ++i) {
    const size_t channels = static_cast<size_t>(s.channels), c = i % channels;
    const size_t statistic = i / static_cast<size_t>(s.channels * s.positions * s.group) * channels + c;
    whole += std::pow(double{gamma[c]} * inverse_std[statistic] * grad[i], 2);
    left += std::pow(grad_x[i], 2);
  }
  return left > 0 ? std::fmax(1, std::sqrt(whole / left)) : 1;
}

// The arrays of a backward pass without ReLU and addend; parameters: the four sums [4,C].
BatchNormBackward plain_backward(Queue& q, const BatchNormShape& s, Floats& x, Floats& gamma, Floats& mean,
                                 Floats& inverse_std, Floats& grad_y, Floats& parameters, Floats& grad_x) {
  float* const p = parameters.on(q);
  return {.x = x.on(q),
          .gamma = gamma.on(q),
          .mean = mean.on(q),
          .inverse_std = inverse_std.on(q),
          .grad_y = grad_y.on(q),
          .grad_gamma = p,
          .grad_beta = p + s.channels,
          .gamma_second_moment = p + 2 * s.channels,
          .beta_second_moment = p + 3 * s.channels,
          .grad_x = grad_x.on(q)};
}

}  // namespace

TEST_CASE("batch normalisation agrees on both devices") {
  BothQueues both;
  for (const BatchNormShape s : {BatchNormShape{0, 4, 3, 2},
                                 {2, 1, 1, 2},
                                 {6, 5, 3, 3},
                                 {8, 31, 33, 4},
                                 {33, 1, 40, 33},
                                 {6, 5, 264, 3},
                                 {4, 1025, 16, 2},
                                 {3, 17, 65, 1},
                                 {128, 9, 2, 64},
                                 {3, 1025, 16, 3},
                                 {16640, 1, 1, 260}})  // more samples than the warps of all blocks
    for (const float offset : {0.0f, 100.0f}) {
      CAPTURE(s.samples, s.positions, s.channels, s.group, offset);
      const int64_t size = s.samples * s.positions * s.channels, statistics = s.groups() * s.channels;
      Floats x(random_tensor(size, 1, offset)), gamma(random_tensor(s.channels, 2)), beta(random_tensor(s.channels, 3)),
          running_mean(random_tensor(s.channels, 4)), running_variance(random_tensor(s.channels, 5, 1)),
          mean(nan_tensor(statistics)), inverse(nan_tensor(statistics)), y(nan_tensor(size)),
          inferred(nan_tensor(size)), grad_y(random_tensor(size, 6)), parameters(random_tensor(4 * s.channels, 7)),
          grad_x(nan_tensor(size)), in_place(random_tensor(size, 6)), xhat(nan_tensor(size)),
          sums(nan_tensor(s.samples * s.channels)), products(nan_tensor(s.samples * s.channels));
      both.run([&](Queue& q) {
        batch_norm_forward(q, s,
                           {.epsilon = 1e-3f,
                            .gamma = gamma.on(q),
                            .beta = beta.on(q),
                            .momentum = 0.1f,
                            .running_mean = running_mean.on(q),
                            .running_variance = running_variance.on(q),
                            .mean = mean.on(q),
                            .inverse_std = inverse.on(q)},
                           x.on(q), y.on(q));
        batch_norm_inference(q,
                             {.rows = s.samples * s.positions,
                              .channels = s.channels,
                              .epsilon = 1e-3f,
                              .gamma = gamma.on(q),
                              .beta = beta.on(q),
                              .running_mean = running_mean.on(q),
                              .running_variance = running_variance.on(q)},
                             x.on(q), inferred.on(q));
        batch_norm_backward(q, s, plain_backward(q, s, x, gamma, mean, inverse, grad_y, parameters, grad_x));
        BatchNormBackward arrays = plain_backward(q, s, x, gamma, mean, inverse, in_place, parameters, in_place);
        arrays.gamma_second_moment = arrays.beta_second_moment = nullptr;
        batch_norm_backward(q, s, arrays);
        batch_norm_normalised(q, s, {mean.on(q), inverse.on(q)}, x.on(q), xhat.on(q));
        batch_norm_sample_gradients(q, s, x.on(q), mean.on(q), inverse.on(q), grad_y.on(q), sums.on(q), products.on(q));
      });
      // A large mean costs both devices that many digits of x; two sums agree only as far as their cancellation allows.
      const double condition = offset == 0 ? 4 : 400;
      const Tolerance tolerance{.terms = static_cast<double>(s.group * s.positions), .condition = condition};
      CHECK(mean.difference(tolerance) == "");
      CHECK(inverse.difference(tolerance) == "");
      CHECK(running_mean.difference(tolerance) == "");
      CHECK(running_variance.difference(tolerance) == "");
      CHECK(y.difference(tolerance) == "");
      CHECK(inferred.difference(tolerance) == "");
      CHECK(parameters.difference(tolerance) == "");
      const double cancelled = cancellation(s, gamma.on_cpu(), inverse.on_cpu(), grad_y.on_cpu(), grad_x.on_cpu());
      CHECK(grad_x.difference({.terms = tolerance.terms, .condition = condition * cancelled}) == "");
      CHECK(in_place.on_cuda() == grad_x.on_cuda());
      CHECK(xhat.difference(tolerance) == "");
      CHECK(sums.difference(tolerance) == "");
      CHECK(products.difference(tolerance) == "");
    }
}

TEST_CASE("batch norm with a ReLU and an addend in its sweep") {
  BothQueues both;
  for (const BatchNormShape& s : {BatchNormShape{2, 1, 3, 2}, {8, 31, 33, 4}, {33, 1, 40, 33}, {4, 1025, 16, 2}}) {
    CAPTURE(s.samples, s.positions, s.channels, s.group);
    const int64_t size = s.samples * s.positions * s.channels, statistics = s.groups() * s.channels;
    Floats x(random_tensor(size, 1)), gamma(random_tensor(s.channels, 2)), beta(random_tensor(s.channels, 3)),
        running_mean(random_tensor(s.channels, 4)), running_variance(random_tensor(s.channels, 5, 1)),
        mean(nan_tensor(statistics)), inverse(nan_tensor(statistics)), y(nan_tensor(size)), sum(random_tensor(size, 8)),
        inferred(nan_tensor(size)), again(nan_tensor(size)), grad_y(random_tensor(size, 6)),
        parameters(random_tensor(4 * s.channels, 7)), grad_x(nan_tensor(size));
    both.run([&](Queue& q) {
      batch_norm_forward(q, s,
                         {.epsilon = 1e-3f,
                          .gamma = gamma.on(q),
                          .beta = beta.on(q),
                          .momentum = 0.1f,
                          .running_mean = running_mean.on(q),
                          .running_variance = running_variance.on(q),
                          .mean = mean.on(q),
                          .inverse_std = inverse.on(q),
                          .epilogue = BatchNormEpilogue{nullptr, true}},
                         x.on(q), y.on(q));
      batch_norm_forward(q, s,
                         {.epsilon = 1e-3f,
                          .gamma = gamma.on(q),
                          .beta = beta.on(q),
                          .momentum = 0.1f,
                          .running_mean = running_mean.on(q),
                          .running_variance = running_variance.on(q),
                          .mean = mean.on(q),
                          .inverse_std = inverse.on(q),
                          .epilogue = BatchNormEpilogue{sum.on(q), true}},
                         x.on(q), sum.on(q));
      batch_norm_inference(q,
                           {.rows = s.samples * s.positions,
                            .channels = s.channels,
                            .epsilon = 1e-3f,
                            .gamma = gamma.on(q),
                            .beta = beta.on(q),
                            .running_mean = running_mean.on(q),
                            .running_variance = running_variance.on(q),
                            .epilogue = BatchNormEpilogue{sum.on(q), true}},
                           x.on(q), inferred.on(q));
      batch_norm_normalised(q, s, {mean.on(q), inverse.on(q), gamma.on(q), beta.on(q)}, x.on(q), again.on(q));
      BatchNormBackward arrays = plain_backward(q, s, x, gamma, mean, inverse, grad_y, parameters, grad_x);
      arrays.relu_beta = beta.on(q);
      batch_norm_backward(q, s, arrays);
    });
    const Tolerance tolerance{.terms = static_cast<double>(s.group * s.positions), .condition = 4};
    for (const Floats* values : {&y, &sum, &inferred, &again, &parameters}) CHECK(values->difference(tolerance) == "");
    std::vector<float> passed = grad_y.on_cpu();
    for (size_t i = 0; i < passed.size(); ++i)
      if (y.on_cpu()[i] <= 0) passed[i] = 0;
    const double cancelled = cancellation(s, gamma.on_cpu(), inverse.on_cpu(), passed, grad_x.on_cpu());
    CHECK(grad_x.difference({.terms = tolerance.terms, .condition = tolerance.condition * cancelled}) == "");
  }
}

TEST_CASE("batch norm's backward sweeps add two gradients, apply the ReLU of a sum and write the addend's gradient") {
  BothQueues both;
  const bool relu = GENERATE(false, true), two = GENERATE(false, true);
  if (!relu && !two) return;
  for (const BatchNormShape& s : {BatchNormShape{2, 1, 3, 2}, {8, 31, 33, 4}, {33, 1, 40, 33}, {4, 1025, 16, 2}}) {
    CAPTURE(relu, two, s.samples, s.positions, s.channels, s.group);
    const int64_t size = s.samples * s.positions * s.channels, statistics = s.groups() * s.channels;
    std::vector<float> outputs = random_tensor(size, 5);
    for (size_t i = 0; i < outputs.size(); i += 3) outputs[i] = 0;  // where a ReLU has cut, its gradient is 0
    Floats x(random_tensor(size, 1)), gamma(random_tensor(s.channels, 2)), mean(random_tensor(statistics, 3, 0.1f)),
        inverse(random_tensor(statistics, 4, 2)), output(outputs), grad_y(random_tensor(size, 6)),
        other(random_tensor(size, 8)), parameters(random_tensor(4 * s.channels, 7)), grad_x(nan_tensor(size)),
        over_both(random_tensor(size, 6)), over_other(random_tensor(size, 8)), grad_addend(nan_tensor(size));
    both.run([&](Queue& q) {
      BatchNormBackward arrays = plain_backward(q, s, x, gamma, mean, inverse, grad_y, parameters, grad_x);
      if (two) arrays.other_grad_y = other.on(q);
      if (relu) arrays.relu_output = output.on(q);
      arrays.grad_addend = grad_addend.on(q);
      batch_norm_backward(q, s, arrays);
      arrays.grad_y = arrays.grad_addend = over_both.on(q);
      if (two) arrays.other_grad_y = over_other.on(q);
      arrays.grad_x = two ? over_other.on(q) : over_both.on(q);
      batch_norm_backward(q, s, arrays);
    });
    std::vector<float> expected = grad_y.on_cpu();
    for (size_t i = 0; i < expected.size(); ++i) {
      if (two) expected[i] += other.on_cpu()[i];
      if (relu && !(output.on_cpu()[i] > 0)) expected[i] = 0;
    }
    CHECK(grad_addend.on_cuda() == expected);
    if (two) CHECK(over_both.on_cuda() == expected);
    CHECK((two ? over_other : over_both).on_cuda() == grad_x.on_cuda());
    const Tolerance tolerance{.terms = static_cast<double>(s.group * s.positions), .condition = 4};
    CHECK(parameters.difference(tolerance) == "");
    const double cancelled = cancellation(s, gamma.on_cpu(), inverse.on_cpu(), expected, grad_x.on_cpu());
    CHECK(grad_x.difference({.terms = tolerance.terms, .condition = tolerance.condition * cancelled}) == "");
  }
}

TEST_CASE("batch norm of many groups") {
  BothQueues both;
  const BatchNormShape s{8200, 2, 1, 2};  // more groups than a grid has rows, than threads merge at once, and counters
  const int64_t size = s.samples * s.positions * s.channels, statistics = s.groups() * s.channels;
  Floats x(random_tensor(size, 1)), parameters(random_tensor(8 * s.channels, 2, 1)), mean(nan_tensor(statistics)),
      inverse(nan_tensor(statistics)), y(nan_tensor(size)), grad_y(random_tensor(size, 3)), grad_x(nan_tensor(size));
  both.run([&](Queue& q) {
    float* const p = parameters.on(q);
    batch_norm_forward(q, s,
                       {.epsilon = 1e-3f,
                        .gamma = p,
                        .beta = p + 1,
                        .momentum = 0.1f,
                        .running_mean = p + 2,
                        .running_variance = p + 3,
                        .mean = mean.on(q),
                        .inverse_std = inverse.on(q)},
                       x.on(q), y.on(q));
    batch_norm_backward(q, s,
                        BatchNormBackward{.x = x.on(q),
                                          .gamma = p,
                                          .mean = mean.on(q),
                                          .inverse_std = inverse.on(q),
                                          .grad_y = grad_y.on(q),
                                          .grad_gamma = p + 4,
                                          .grad_beta = p + 5,
                                          .gamma_second_moment = p + 6,
                                          .beta_second_moment = p + 7,
                                          .grad_x = grad_x.on(q)});
  });
  for (const Floats* values : {&parameters, &mean, &inverse, &y, &grad_x})
    CHECK(values->difference({.terms = static_cast<double>(s.samples), .condition = 4}) == "");
}

TEST_CASE("batch norm's statistics where threads merge several blocks of rows") {
  BothQueues both;
  const BatchNormShape s{1, 8250, 17, 1};  // more than 32 blocks of 256 rows
  const int64_t size = s.samples * s.positions * s.channels;
  Floats x(random_tensor(size, 1)), gamma(random_tensor(s.channels, 2)), beta(random_tensor(s.channels, 3)),
      running_mean(random_tensor(s.channels, 4)), running_variance(random_tensor(s.channels, 5, 1)),
      mean(nan_tensor(s.channels)), inverse(nan_tensor(s.channels)), y(nan_tensor(size));
  both.run([&](Queue& q) {
    batch_norm_forward(q, s,
                       {.epsilon = 1e-3f,
                        .gamma = gamma.on(q),
                        .beta = beta.on(q),
                        .momentum = 0.1f,
                        .running_mean = running_mean.on(q),
                        .running_variance = running_variance.on(q),
                        .mean = mean.on(q),
                        .inverse_std = inverse.on(q)},
                       x.on(q), y.on(q));
  });
  const Tolerance tolerance{.terms = static_cast<double>(s.positions), .condition = 4};
  for (const Floats* values : {&running_mean, &running_variance, &mean, &inverse, &y})
    CHECK(values->difference(tolerance) == "");
}

TEST_CASE("batch norm's gradients where a block sums several samples of many positions") {
  BothQueues both;
  // More samples, counted for each tile of 128 channels, than a grid has blocks, each too long for one warp.
  const BatchNormShape s{34, 32, 8192, 17};
  const int64_t size = s.samples * s.positions * s.channels, statistics = s.groups() * s.channels;
  Floats x(random_tensor(size, 1)), grad_y(random_tensor(size, 2)), mean(random_tensor(statistics, 3)),
      inverse(random_tensor(statistics, 4, 2)), gamma(random_tensor(s.channels, 5)),
      parameters(random_tensor(4 * s.channels, 6)), grad_x(nan_tensor(size));
  both.run([&](Queue& q) {
    batch_norm_backward(q, s, plain_backward(q, s, x, gamma, mean, inverse, grad_y, parameters, grad_x));
  });
  const Tolerance tolerance{.terms = static_cast<double>(s.group * s.positions), .condition = 4};
  CHECK(parameters.difference(tolerance) == "");
  CHECK(grad_x.difference(tolerance) == "");
}
