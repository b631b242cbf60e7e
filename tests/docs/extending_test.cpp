// The example's layer and noise are right, not only running: people copy them.
#include <cmath>
#include <random>

#include "docs/examples/extending/laplace_fisher.h"
#include "docs/examples/extending/swish.h"
#include "tests/catch.h"

using namespace noisysgd;

namespace {

double swish(double x, double slope) { return x / (1 + std::exp(-slope * x)); }

}  // namespace

TEST_CASE("the example's swish has the gradients of its formula, per sample") {
  Context context;
  const int64_t samples = 3, features = 5;
  Swish layer("swish1", {features});
  ParameterArena arena(context, layer.parameters(), true);
  const double slope = 1.3, step = 1e-5;
  *arena.parameters()[0]->value.f32() = static_cast<float>(slope);
  arena.zero_sums();

  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  Tensor x(context, {samples, features}), grad_y(context, {samples, features});
  for (float& v : x.span<float>()) v = 2 * normal(random);
  for (float& v : grad_y.span<float>()) v = normal(random);

  for (int pass = 1; pass <= 2; ++pass) {  // the second adds to the first
    Tape tape;
    const Variable input = tape.leaf(x);
    const Variable y = layer.forward({context, &tape, true}, input);
    tape.backward(context, y, grad_y, {{SecondMoment::exact}});

    double gradient = 0, squares = 0;
    for (int64_t n = 0; n < samples; ++n) {
      double of_sample = 0;
      for (int64_t i = n * features; i < (n + 1) * features; ++i) {
        const double v = x.f32()[i], dy = grad_y.f32()[i];
        CHECK(y.value.f32()[i] == Approx(swish(v, slope)).epsilon(1e-5));
        CHECK(tape.gradient(input).f32()[i] ==
              Approx(dy * (swish(v + step, slope) - swish(v - step, slope)) / (2 * step)).epsilon(1e-4).margin(1e-6));
        of_sample += dy * (swish(v, slope + step) - swish(v, slope - step)) / (2 * step);
      }
      gradient += of_sample;
      squares += of_sample * of_sample;
    }
    CHECK(*arena.parameters()[0]->gradient_sum.f32() == Approx(pass * gradient).epsilon(1e-4));
    CHECK(*arena.parameters()[0]->second_moment.f32() == Approx(pass * squares).epsilon(1e-4));
  }
}

TEST_CASE("the example's noise has mean 0, the variance of the diagonal Fisher noise and a Laplace's tails") {
  Context context;
  const int64_t size = 200000, batch = 512, small_batch = 128;
  Parameter parameter{"w", {size}};
  ParameterArena arena(context, {&parameter}, true);
  arena.zero_sums();
  for (int64_t i = 0; i < size; ++i) parameter.second_moment.f32()[i] = i % 2 == 0 ? 2.0f : 8.0f;

  LaplaceFisher structure(small_batch);
  kernels::SgdSegment segment;
  const FisherOptions fisher;
  std::vector<Tensor> vectors;
  structure.prepare({context, arena.parameters(), fisher, batch, 11, 3, vectors}, {&segment, 1});
  REQUIRE(segment.explicit_noise != nullptr);
  for (const int64_t parity : {0, 1}) {
    const double variance = (1.0 / small_batch - 1.0 / batch) * (parity == 0 ? 2.0 : 8.0) / batch;
    double mean = 0, second = 0, fourth = 0;
    for (int64_t i = parity; i < size; i += 2) {
      const double z = segment.explicit_noise[i] / std::sqrt(variance);
      mean += z / (size / 2.0);
      second += z * z / (size / 2.0);
      fourth += z * z * z * z / (size / 2.0);
    }
    // Standard errors over 100 000 draws: 1, sqrt(6-1) and sqrt(E z^8 - 36) = sqrt(2520-36), over sqrt(100 000).
    CHECK(mean == Approx(0).margin(5 * 0.0032));
    CHECK(second == Approx(1).margin(5 * 0.0071));
    CHECK(fourth == Approx(6).margin(5 * 0.158));
  }
}
