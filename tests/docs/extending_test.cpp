// The types of the example are correct, because people copy them.
#include <cmath>
#include <random>

#include "docs/examples/extending/cooldown.h"
#include "docs/examples/extending/gratings.h"
#include "docs/examples/extending/laplace_fisher.h"
#include "docs/examples/extending/lion.h"
#include "docs/examples/extending/squared_error.h"
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

TEST_CASE("the example's swish adds only the sums that a pass needs") {
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
  CHECK(pass({.into = {.gradient = gradients, .second_moment = second_moments}}) == of_input);  // no statistic
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

TEST_CASE("the example's optimizer moves as its formula says, on either side of the momentum") {
  Context context;
  constexpr int64_t size = 3, batch = 8;
  const bool after_momentum = GENERATE(false, true);
  const double beta1 = 0.8, beta2 = 0.6, decay = 0.1, rate = 0.05, factor = 0.5;
  Parameter parameter{"w", {size}};
  const ParameterSet parameters(context, {&parameter});
  const Block gradient(context, parameters);
  const float eps[size] = {0.3f, -0.7f, 0.1f};
  double theta[size] = {1, -2, 0.5}, average[size] = {};
  for (int64_t i = 0; i < size; ++i) parameter.value.f32()[i] = static_cast<float>(theta[i]);
  Lion lion(beta1, beta2, decay);
  lion.begin(context, parameters);
  for (uint32_t step = 0; step < 4; ++step) {
    double gradient_squared = 0, noise_squared = 0;
    for (int64_t i = 0; i < size; ++i) {
      const double mean = std::sin(1.0 + 3 * step + static_cast<double>(i));
      gradient.at(parameter)[i] = static_cast<float>(mean * batch);
      gradient_squared += mean * mean;
      noise_squared += eps[i] * eps[i];
      const double kept = factor * mean + (after_momentum ? 0 : eps[i]);
      const double mixed = beta1 * average[i] + (1 - beta1) * kept;
      theta[i] -= rate * (std::copysign(1, mixed) + (after_momentum ? eps[i] : 0) + decay * theta[i]);
      average[i] = beta2 * average[i] + (1 - beta2) * kept;
    }
    const kernels::NoiseField noise{.vector = eps};
    kernels::StepNorms norms;
    lion.step({.gradient = gradient,
               .noise = {&noise, 1},
               .batch = batch,
               .learning_rate = static_cast<float>(rate),
               .gradient_factor = factor,
               .noise_after_momentum = after_momentum,
               .step = step,
               .norms = &norms});
    for (int64_t i = 0; i < size; ++i) CHECK(parameter.value.f32()[i] == Approx(theta[i]).epsilon(1e-5));
    CHECK(norms.gradient_squared == Approx(gradient_squared));
    CHECK(norms.noise_squared == Approx(noise_squared));
  }
  lion.step({.gradient = gradient, .noise = {}, .batch = batch, .learning_rate = 1.0f, .halted = 1});
  for (int64_t i = 0; i < size; ++i) CHECK(parameter.value.f32()[i] == Approx(theta[i]).epsilon(1e-5));
}

TEST_CASE("the example's schedule falls to 0 over its last epochs") {
  const Cooldown schedule(4);
  CHECK(schedule.factor(0, 10) == 1);
  CHECK(schedule.factor(6, 10) == 1);
  CHECK(schedule.factor(9, 10) == 0.25);
  CHECK(schedule.factor(10, 10) == 0);
  CHECK(schedule.epoch_keys() == std::vector<std::string>{"length"});
}

TEST_CASE("the example's data set has waves of every direction, the same at every call") {
  const Gratings loader(40, 12, 3, 0);
  const auto [train, test] = loader.load({});
  CHECK(loader.load({}).train.images == train.images);
  CHECK(train.count == 40);
  CHECK(test.count == 12);
  CHECK(std::vector<uint8_t>(train.images.begin(), train.images.begin() + 256) !=
        std::vector<uint8_t>(test.images.begin(), test.images.begin() + 256));
  for (int64_t n = 0; n < 12; ++n) {
    CHECK(test.labels[static_cast<size_t>(n)] == n % 3);
    // A wave of one unit per pixel satisfies w(p+d) + w(p-d) = 2 cos(d.k) w(p), k the unit vector of its direction.
    const double angle = std::acos(-1) * static_cast<double>(n % 3) / 3;
    const auto wave = [&](int64_t x, int64_t y) {
      return (test.image(n)[static_cast<size_t>(16 * y + x)] - 127.0) / 80;
    };
    for (int64_t at = 1; at < 15; ++at) {
      CHECK(wave(at + 1, 8) + wave(at - 1, 8) ==
            Approx(2 * std::cos(std::cos(angle)) * wave(at, 8)).margin(4.0 / 80));
      CHECK(wave(8, at + 1) + wave(8, at - 1) ==
            Approx(2 * std::cos(std::sin(angle)) * wave(8, at)).margin(4.0 / 80));
    }
  }
}

TEST_CASE("the example's loss has the gradient of its formula, weighted sample by sample") {
  Context context;
  const std::vector<float> z{0.5f, -1, 2, 3, 0.25f, -0.5f}, weights{1, -2};
  const std::vector<int32_t> labels{2, 1};
  const Tensor logits = from_host(context, {2, 3}, z), gradient(context, {2, 3});
  kernels::LossSums sums;
  SquaredError(4).evaluate({.context = context,
                            .logits = logits,
                            .labels = from_host(context, {2}, labels),
                            .weights = from_host(context, {2}, weights),
                            .gradient = gradient,
                            .sums = &sums});
  double loss = 0, weighted = 0;
  for (size_t n = 0; n < 2; ++n)
    for (size_t k = 0; k < 3; ++k) {
      const double difference = z[3 * n + k] - (labels[n] == static_cast<int32_t>(k) ? 4 : 0);
      loss += difference * difference / 2;
      weighted += weights[n] * difference * difference / 2;
      CHECK(gradient.f32()[3 * n + k] == Approx(weights[n] * difference));
    }
  CHECK(sums.loss == Approx(loss));
  CHECK(sums.weighted_loss == Approx(weighted));
  CHECK(sums.correct == 1);  // 2 of the first row, but 0 of the second
  CHECK(sums.samples == 2);
}
