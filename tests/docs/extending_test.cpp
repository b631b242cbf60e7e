// The example's layer and noise are right, not only running: people copy them.
#include <cmath>
#include <random>

#include "docs/examples/extending/laplace_fisher.h"
#include "docs/examples/extending/swish.h"
#include "docs/examples/extending/temporal_noise.h"
#include "tests/catch.h"

using namespace noisysgd;

namespace {

double swish(double x, double slope) { return x / (1 + std::exp(-slope * x)); }

}  // namespace

TEST_CASE("the example's swish has the gradients of its formula, per sample") {
  Context context;
  const int64_t samples = 3, features = 5;
  Swish layer("swish1", {features});
  const ParameterSet parameters(context, layer.parameters());
  const Parameter& weight = *parameters.list()[0];
  const double slope = 1.3, step = 1e-5;
  *weight.value.f32() = static_cast<float>(slope);
  const Block gradients(context, parameters), second_moments(context, parameters);

  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  Tensor x(context, {samples, features}), grad_y(context, {samples, features});
  for (float& v : x.span<float>()) v = 2 * normal(random);
  for (float& v : grad_y.span<float>()) v = normal(random);

  for (int pass = 1; pass <= 2; ++pass) {  // the second adds to the first
    Tape tape;
    const Variable input = tape.leaf(x);
    const Variable y = layer.forward({context, &tape, true}, input);
    tape.backward(
        context, y, grad_y,
        {.statistics = {SecondMoment::exact}, .into = {.gradient = gradients, .second_moment = second_moments}});

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
    CHECK(*gradients.at(weight) == Approx(pass * gradient).epsilon(1e-4));
    CHECK(*second_moments.at(weight) == Approx(pass * squares).epsilon(1e-4));
  }
}

TEST_CASE("the example's swish adds nothing that a pass does not want") {
  Context context;
  Swish layer("swish1", {1});
  const ParameterSet parameters(context, layer.parameters());
  const Parameter& weight = *parameters.list()[0];
  *weight.value.f32() = 1;
  const auto ones = [&] {
    Tensor tensor(context, {2, 1});
    fill(context, tensor, 1.0f);
    return tensor;
  };
  const auto pass = [&](const Tape::BackwardOptions& options) {
    Tape tape;
    const Variable input = tape.leaf(ones());
    tape.backward(context, layer.forward({context, &tape, true}, input), ones(), options);
    return *tape.gradient(input).f32();
  };
  const Block gradients(context, parameters), second_moments(context, parameters);
  const float of_input = pass({});
  CHECK(of_input != 0);
  CHECK(pass({.into = {.gradient = gradients, .second_moment = second_moments}}) == of_input);  // of no kind
  CHECK(*gradients.at(weight) != 0);
  CHECK(*second_moments.at(weight) == 0);
  const float sum = *gradients.at(weight);
  CHECK(pass({.statistics = {SecondMoment::exact}, .into = {.second_moment = second_moments}}) == of_input);
  CHECK(*gradients.at(weight) == sum);
  CHECK(*second_moments.at(weight) != 0);
}

TEST_CASE("the example's noise has mean 0, the variance of the diagonal Fisher noise and a Laplace's tails") {
  Context context;
  const int64_t size = 200000, batch = 512, small_batch = 128;
  Parameter parameter{"w", {size}};
  const ParameterSet parameters(context, {&parameter});
  // diag(F) in two forms: sums over a batch, and an average over steps.
  const bool averaged = GENERATE(false, true);
  const Sums sums{.gradient = Block(context, parameters), .second_moment = Block(context, parameters)};
  const Block average(context, parameters);
  for (int64_t i = 0; i < size; ++i)
    (averaged ? average : sums.second_moment).at(parameter)[i] = (i % 2 == 0 ? 2.0f : 8.0f) / (averaged ? batch : 1);

  LaplaceFisher structure(small_batch);
  CHECK(structure.capabilities().second_moment);
  FisherOptions fisher;
  if (averaged) fisher.refresh_every = 2;
  const FisherStep of_batch{fisher, sums, batch, average};
  kernels::NoiseField field;
  const NoiseCollects collected;
  std::vector<Tensor> kept;
  structure.prepare({context, parameters.list(), sums, of_batch, batch, 11, 3, collected, kept}, {&field, 1});
  REQUIRE(field.vector != nullptr);
  for (const int64_t parity : {0, 1}) {
    const double variance = (1.0 / small_batch - 1.0 / batch) * (parity == 0 ? 2.0 : 8.0) / batch;
    double mean = 0, second = 0, fourth = 0;
    for (int64_t i = parity; i < size; i += 2) {
      const double z = field.vector[i] / std::sqrt(variance);
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

TEST_CASE("the example's temporal noise has the variance of the mean gradients over steps") {
  Context context;
  constexpr int64_t size = 3, batch = 64, small_batch = 16;
  constexpr double decay = 0.75, kappa = 1.0 / small_batch - 1.0 / batch;
  Parameter parameter{"w", {size}};
  const ParameterSet parameters(context, {&parameter});
  const Sums sums{.gradient = Block(context, parameters)};
  TemporalNoise structure({.small_batch = small_batch}, static_cast<float>(decay));
  structure.begin(context, parameters);
  double mean[size], variance[size] = {};
  for (uint32_t step = 0; step < 4; ++step) {
    for (int64_t i = 0; i < size; ++i) {
      const double gradient = std::sin(1.0 + 3 * step + static_cast<double>(i));
      sums.gradient.at(parameter)[i] = static_cast<float>(gradient * batch);
      if (step == 0) mean[i] = gradient;
      variance[i] = decay * variance[i] + (1 - decay) * (gradient - mean[i]) * (gradient - mean[i]);
      mean[i] = decay * mean[i] + (1 - decay) * gradient;
    }
    const FisherOptions fisher;
    const FisherStep of_batch{fisher, sums, batch, {}};
    kernels::NoiseField field;
    const NoiseCollects collected = structure.collects({batch}, step);
    std::vector<Tensor> kept;
    structure.prepare({context, parameters.list(), sums, of_batch, batch, 11, step, collected, kept}, {&field, 1});
    for (int64_t i = 0; i < size; ++i)
      CHECK(field.variance.second_moment * field.second_moment[i] ==
            Approx(kappa * batch * variance[i]).epsilon(1e-5).margin(1e-9));
  }
  CHECK_FALSE(structure.acts_on(small_batch));
}
