// Batch normalisation on the CUDA device against the CPU, whose own tests compare it with fp64 references.
#include "kernels/batch_norm.h"

#include <cmath>

#include "tests/catch.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

// By how much grad_x is smaller than scale grad, of which two means leave it: of two samples with one position, almost
// nothing is left, and the rounding of the rest counts by so much more. grad: of the normalised output.
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

}  // namespace

TEST_CASE("batch normalisation agrees on both devices") {
  BothQueues both;
  for (const BatchNormShape s : {BatchNormShape{0, 4, 3, 2},
                                 {2, 1, 1, 2},
                                 {6, 5, 3, 3},
                                 {8, 31, 33, 4},
                                 {33, 1, 40, 33},
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
          inferred(nan_tensor(size)), grad_y(random_tensor(size, 6)), grad_gamma(random_tensor(s.channels, 7)),
          grad_beta(random_tensor(s.channels, 8)), gamma_moment(random_tensor(s.channels, 9)),
          beta_moment(random_tensor(s.channels, 10)), grad_x(nan_tensor(size)), in_place(random_tensor(size, 6)),
          xhat(nan_tensor(size)), sums(nan_tensor(s.samples * s.channels)),
          products(nan_tensor(s.samples * s.channels));
      both.run([&](Queue& q) {
        batch_norm_forward(q, s, 1e-3f, 0.1f, x.on(q), gamma.on(q), beta.on(q), BatchNormTail{}, running_mean.on(q),
                           running_variance.on(q), mean.on(q), inverse.on(q), y.on(q));
        batch_norm_inference(q, s.samples * s.positions, s.channels, 1e-3f, x.on(q), gamma.on(q), beta.on(q),
                             running_mean.on(q), running_variance.on(q), BatchNormTail{}, inferred.on(q));
        batch_norm_backward(q, s, x.on(q), gamma.on(q), nullptr, mean.on(q), inverse.on(q), grad_y.on(q),
                            grad_gamma.on(q), grad_beta.on(q), gamma_moment.on(q), beta_moment.on(q), grad_x.on(q));
        batch_norm_backward(q, s, x.on(q), gamma.on(q), nullptr, mean.on(q), inverse.on(q), in_place.on(q),
                            grad_gamma.on(q), grad_beta.on(q), nullptr, nullptr, in_place.on(q));
        batch_norm_normalised(q, s, x.on(q), nullptr, nullptr, mean.on(q), inverse.on(q), xhat.on(q));
        batch_norm_sample_gradients(q, s, x.on(q), mean.on(q), inverse.on(q), grad_y.on(q), sums.on(q), products.on(q));
      });
      // A large mean costs both devices the places of x that it takes; two sums are only as near as their cancellation.
      const double condition = offset == 0 ? 4 : 400;
      const Tolerance tolerance{.terms = static_cast<double>(s.group * s.positions), .condition = condition};
      CHECK(mean.difference(tolerance) == "");
      CHECK(inverse.difference(tolerance) == "");
      CHECK(running_mean.difference(tolerance) == "");
      CHECK(running_variance.difference(tolerance) == "");
      CHECK(y.difference(tolerance) == "");
      CHECK(inferred.difference(tolerance) == "");
      CHECK(grad_gamma.difference(tolerance) == "");
      CHECK(grad_beta.difference(tolerance) == "");
      CHECK(gamma_moment.difference(tolerance) == "");
      CHECK(beta_moment.difference(tolerance) == "");
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
      batch_norm_forward(q, s, 1e-3f, 0.1f, x.on(q), gamma.on(q), beta.on(q), BatchNormTail{nullptr, true},
                         running_mean.on(q), running_variance.on(q), mean.on(q), inverse.on(q), y.on(q));
      batch_norm_forward(q, s, 1e-3f, 0.1f, x.on(q), gamma.on(q), beta.on(q), BatchNormTail{sum.on(q), true},
                         running_mean.on(q), running_variance.on(q), mean.on(q), inverse.on(q), sum.on(q));
      batch_norm_inference(q, s.samples * s.positions, s.channels, 1e-3f, x.on(q), gamma.on(q), beta.on(q),
                           running_mean.on(q), running_variance.on(q), BatchNormTail{sum.on(q), true}, inferred.on(q));
      batch_norm_normalised(q, s, x.on(q), gamma.on(q), beta.on(q), mean.on(q), inverse.on(q), again.on(q));
      float* const p = parameters.on(q);
      batch_norm_backward(q, s, x.on(q), gamma.on(q), beta.on(q), mean.on(q), inverse.on(q), grad_y.on(q), p,
                          p + s.channels, p + 2 * s.channels, p + 3 * s.channels, grad_x.on(q));
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

TEST_CASE("batch norm of many groups") {
  BothQueues both;
  const BatchNormShape s{4100, 2, 1, 2};  // more groups than a grid has rows, and than threads merge at once
  const int64_t size = s.samples * s.positions * s.channels, statistics = s.groups() * s.channels;
  Floats x(random_tensor(size, 1)), parameters(random_tensor(8 * s.channels, 2, 1)), mean(nan_tensor(statistics)),
      inverse(nan_tensor(statistics)), y(nan_tensor(size)), grad_y(random_tensor(size, 3)), grad_x(nan_tensor(size));
  both.run([&](Queue& q) {
    float* const p = parameters.on(q);
    batch_norm_forward(q, s, 1e-3f, 0.1f, x.on(q), p, p + 1, BatchNormTail{}, p + 2, p + 3, mean.on(q), inverse.on(q),
                       y.on(q));
    batch_norm_backward(q, s, x.on(q), p, nullptr, mean.on(q), inverse.on(q), grad_y.on(q), p + 4, p + 5, p + 6, p + 7,
                        grad_x.on(q));
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
    batch_norm_forward(q, s, 1e-3f, 0.1f, x.on(q), gamma.on(q), beta.on(q), BatchNormTail{}, running_mean.on(q),
                       running_variance.on(q), mean.on(q), inverse.on(q), y.on(q));
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
    float* const p = parameters.on(q);
    batch_norm_backward(q, s, x.on(q), gamma.on(q), nullptr, mean.on(q), inverse.on(q), grad_y.on(q), p, p + s.channels,
                        p + 2 * s.channels, p + 3 * s.channels, grad_x.on(q));
  });
  const Tolerance tolerance{.terms = static_cast<double>(s.group * s.positions), .condition = 4};
  CHECK(parameters.difference(tolerance) == "");
  CHECK(grad_x.difference(tolerance) == "");
}
