#include <noisysgd/kernels/sgd_step.h>

#include <fmt/format.h>

#include <noisysgd/kernels/simd/ops.h>
#include "tests/compare.h"
#include "tests/kernels/simd_fixture.h"
#include "tests/random_tensor.h"
#include "tests/reference/normal_reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

struct Options {
  bool velocity = true, nesterov = false, after = false, explicit_noise = false;
  float weight_decay = 0;
  NoiseCoefficients noise;
};

struct State {
  std::vector<float> value, velocity, gradient_sum, second_moment, explicit_noise;

  State(int64_t n, uint32_t tensor)
      : value(random_tensor(n, 10 * tensor)),
        velocity(random_tensor(n, 10 * tensor + 1)),
        gradient_sum(random_tensor(n, 10 * tensor + 2, 0, 50)),
        second_moment(random_tensor(n, 10 * tensor + 3, 2, 2)),
        explicit_noise(random_tensor(n, 10 * tensor + 4)) {
    // Where Q and S^2 nearly cancel, the root magnifies their rounding: keep the variance clearly positive or negative.
    for (size_t i = 0; i < value.size(); ++i)
      if (std::fabs(0.4f * second_moment[i] - 0.001f * gradient_sum[i] * gradient_sum[i]) < 0.02f)
        second_moment[i] += 0.1f;
  }
};

SgdHyperparameters hyperparameters(const Options& options) {
  return {.learning_rate = 0.1f,
          .momentum = options.velocity ? 0.9f : 0.0f,
          .inverse_batch = 1.0f / 64,
          .nesterov = options.nesterov,
          .noise_after_momentum = options.after,
          .seed = 0xFEDCBA9876543210,
          .step = 7};
}

NoiseField field(const Options& options, const State& state) {
  return {.variance = options.noise,
          .second_moment = options.noise.second_moment != 0 ? state.second_moment.data() : nullptr,
          .vector = options.explicit_noise ? state.explicit_noise.data() : nullptr};
}

// What the step draws for that segment.
NoiseDraw draw_of(const Options& options, uint32_t tensor, int64_t n, const State& state) {
  const SgdHyperparameters h = hyperparameters(options);
  return {.n = n,
          .gradient_sum = state.gradient_sum.data(),
          .field = field(options, state),
          .seed = h.seed,
          .step = h.step,
          .tensor = tensor};
}

SgdSegment segment(const Options& options, uint32_t tensor, int64_t n, float* value, float* velocity,
                   const State& state) {
  return {.n = n,
          .value = value,
          .velocity = options.velocity ? velocity : nullptr,
          .gradient_sum = state.gradient_sum.data(),
          .noise = field(options, state),
          .weight_decay = options.weight_decay,
          .tensor = tensor};
}

struct Reference {
  std::vector<double> value, velocity, noise;
  double gradient_squared = 0, noise_squared = 0;
};

// The formulas of the header in fp64.
Reference reference_step(const Options& options, const State& state, uint32_t tensor) {
  const SgdHyperparameters h = hyperparameters(options);
  const RandomStream stream{h.seed, h.step, tensor, RandomPurpose::noise};
  const double mu = h.momentum, alpha = h.learning_rate.value(), lambda = options.weight_decay;
  Reference result;
  for (size_t i = 0; i < state.value.size(); ++i) {
    const double sum = state.gradient_sum[i], gradient = sum / 64, theta = state.value[i];
    double variance = options.noise.constant + options.noise.gradient_sum * sum * sum;
    if (options.noise.second_moment != 0) variance += options.noise.second_moment * state.second_moment[i];
    double noise = options.noise.any() ? std::sqrt(std::max(0.0, variance)) * normal_reference(stream, i).value : 0;
    if (options.explicit_noise) noise += state.explicit_noise[i];
    const double before = options.after ? 0 : noise, after = options.after ? noise : 0;
    const double velocity = (options.velocity ? mu * state.velocity[i] : 0) + gradient + before + lambda * theta;
    const double update = options.nesterov ? gradient + before + lambda * theta + mu * velocity : velocity;
    result.value.push_back(theta - alpha * (update + after));
    result.velocity.push_back(options.velocity ? velocity : state.velocity[i]);
    result.noise.push_back(noise);
    result.gradient_squared += gradient * gradient;
    result.noise_squared += noise * noise;
  }
  return result;
}

std::vector<Options> all_options() {
  std::vector<Options> result;
  for (bool velocity : {false, true})
    for (bool nesterov : {false, true})
      for (bool after : {false, true})
        for (bool explicit_noise : {false, true})
          for (float weight_decay : {0.0f, 0.01f})
            for (NoiseCoefficients noise :
                 {NoiseCoefficients{}, NoiseCoefficients{.constant = 0.5f}, NoiseCoefficients{.second_moment = 0.3f},
                  NoiseCoefficients{.second_moment = 0.4f, .gradient_sum = -0.001f},
                  NoiseCoefficients{.gradient_sum = 0.01f}})
              result.push_back({velocity, nesterov, after, explicit_noise, weight_decay, noise});
  return result;
}

std::string describe(const Options& o, int64_t n) {
  return fmt::format("n {} velocity {} nesterov {} after {} explicit {} decay {} noise {} {} {}: ", n, o.velocity,
                     o.nesterov, o.after, o.explicit_noise, o.weight_decay, o.noise.constant, o.noise.second_moment,
                     o.noise.gradient_sum);
}

struct Outcome {
  std::vector<float> value, velocity;
  StepNorms norms;
};

Outcome step(const simd::SimdKernels& kernels, int threads, const Options& options, const State& state, uint32_t tensor,
             bool with_norms = false) {
  Queue queue({}, threads);
  Guarded value(state.value), velocity(state.velocity);
  const auto n = static_cast<int64_t>(state.value.size());
  const SgdSegment one = segment(options, tensor, n, value.data(), velocity.data(), state);
  Outcome outcome;
  simd::sgd_step(queue, kernels, {&one, 1}, hyperparameters(options), with_norms ? &outcome.norms : nullptr);
  CHECK((value.intact() && velocity.intact()));
  outcome.value = value.values();
  outcome.velocity = velocity.values();
  return outcome;
}

}  // namespace

TEST_CASE("the fused step follows its formula for every option") {
  for (const Options& options : all_options())
    for (int64_t n : {1, 31, 32, 33, 1025}) {
      const State state(n, 5);
      const Reference reference = reference_step(options, state, 5);
      for (simd::Isa isa : supported_isas()) {
        const Outcome outcome = step(simd::simd_kernels(isa), 1, options, state, 5);
        INFO(describe(options, n) << simd::simd_kernels(isa).name);
        CHECK(compare(outcome.value, reference.value, {.terms = 16}) == "");
        CHECK(compare(outcome.velocity, reference.velocity, {.terms = 16}) == "");
        if (!options.velocity) CHECK(outcome.velocity == state.velocity);
      }
    }
}

TEST_CASE("the step has the same bits on every instruction set and thread count, with norms and without") {
  const int64_t n = 40003;  // several pieces and a tail
  const State state(n, 2);
  for (const Options& options : {Options{}, Options{.noise = {.constant = 0.1f, .second_moment = 0.3f}},
                                 Options{.nesterov = true, .explicit_noise = true, .noise = {.gradient_sum = 1}}}) {
    const Outcome expected = step(simd::simd_kernels(simd::Isa::portable), 1, options, state, 2);
    for (simd::Isa isa : supported_isas()) {
      StepNorms first;
      for (int threads : {1, 2, 3})
        for (bool with_norms : {false, true}) {
          const Outcome outcome = step(simd::simd_kernels(isa), threads, options, state, 2, with_norms);
          CHECK(outcome.value == expected.value);
          CHECK(outcome.velocity == expected.velocity);
          if (!with_norms) continue;
          if (threads == 1) first = outcome.norms;
          CHECK(outcome.norms.gradient_squared == first.gradient_squared);
          CHECK(outcome.norms.noise_squared == first.noise_squared);
        }
    }
  }
}

TEST_CASE("norms are those of the mean gradient and of the noise, and accumulate over segments") {
  const Options options{.explicit_noise = true, .noise = {.constant = 0.1f, .second_moment = 0.3f}};
  for (simd::Isa isa : supported_isas()) {
    Queue queue({}, 2);
    StepNorms norms{.gradient_squared = 1000, .noise_squared = 2000};
    double gradient_squared = 1000, noise_squared = 2000;
    std::vector<State> states;
    std::vector<SgdSegment> segments;
    std::vector<Reference> references;
    const int64_t sizes[] = {0, 1, 31, 17000, 33, 40000};
    for (uint32_t i = 0; i < std::size(sizes); ++i) states.emplace_back(sizes[i], i);
    for (uint32_t i = 0; i < std::size(sizes); ++i) {
      references.push_back(reference_step(options, states[i], i));
      gradient_squared += references[i].gradient_squared;
      noise_squared += references[i].noise_squared;
      segments.push_back(segment(options, i, sizes[i], states[i].value.data(), states[i].velocity.data(), states[i]));
    }
    simd::sgd_step(queue, simd::simd_kernels(isa), segments, hyperparameters(options), &norms);
    CHECK(norms.gradient_squared == Approx(gradient_squared).epsilon(1e-6));
    CHECK(norms.noise_squared == Approx(noise_squared).epsilon(1e-6));
    for (size_t i = 0; i < std::size(sizes); ++i)
      CHECK(compare(states[i].value, references[i].value, {.terms = 16}) == "");
  }
}

TEST_CASE("numbers in memory scale the step as numbers by value do, and a halted step changes nothing") {
  const int64_t n = 1025;
  const Options options{.noise = {.constant = 0.5f, .second_moment = 0.25f}};
  const State state(n, 3);
  // Powers of two: the order of products does not matter.
  const float variance_factor = 4, match_factor = 0.5f, learning_rate = 0.25f;
  const double gradient_factor = 0.5;
  const uint32_t step = 7, halted = 1;
  Queue queue({}, 2);
  const auto run = [&](const SgdHyperparameters& h, NoiseCoefficients noise, bool factors) {
    Outcome outcome{state.value, state.velocity, {}};
    SgdSegment one = segment(options, 3, n, outcome.value.data(), outcome.velocity.data(), state);
    one.noise.variance = noise;
    one.noise.variance_factor = factors ? &variance_factor : nullptr;
    one.noise.match_factor = factors ? &match_factor : nullptr;
    sgd_step(queue, std::span(&one, 1), h, &outcome.norms);
    return outcome;
  };
  SgdHyperparameters given = hyperparameters(options);
  given.learning_rate = learning_rate;
  given.inverse_batch *= 0.5f;
  const Outcome expected = run(given, options.noise.scaled(2), false);
  SgdHyperparameters placed = hyperparameters(options);
  placed.learning_rate = {0, &learning_rate};
  placed.gradient_factor = {0, &gradient_factor};
  placed.step = {0, &step};
  const Outcome actual = run(placed, options.noise, true);
  CHECK(actual.value != state.value);
  CHECK(actual.value == expected.value);
  CHECK(actual.velocity == expected.velocity);
  CHECK(actual.norms.gradient_squared == 4 * expected.norms.gradient_squared);  // without the factor
  CHECK(actual.norms.noise_squared == expected.norms.noise_squared);
  placed.halted = {0, &halted};
  const Outcome stopped = run(placed, options.noise, true);
  CHECK(stopped.value == state.value);
  CHECK(stopped.velocity == state.velocity);
  CHECK(stopped.norms.gradient_squared == 0);
  CHECK(stopped.norms.noise_squared == 0);
}

TEST_CASE("draw_noise returns what the step adds") {
  for (const Options& options : all_options()) {
    if (!options.noise.any() && !options.explicit_noise) continue;
    const State state(1025, 4);
    const Reference reference = reference_step(options, state, 4);
    for (simd::Isa isa : supported_isas())
      for (int threads : {1, 3}) {
        Queue queue({}, threads);
        Guarded noise(nan_tensor(1025));
        simd::draw_noise(queue, simd::simd_kernels(isa), draw_of(options, 4, 1025, state), noise.data());
        INFO(describe(options, 1025));
        CHECK(noise.intact());
        CHECK(compare(noise.values(), reference.noise, {.terms = 16}) == "");
      }
  }
}

TEST_CASE("noise has mean zero and the variance of its formula in every coordinate") {
  const int64_t n = 70;
  const int steps = 4000;
  const Options options{.noise = {.constant = 0.2f, .second_moment = 0.3f, .gradient_sum = -0.0002f}};
  const State state(n, 6);
  std::vector<double> sum(n), squares(n), neighbours(n);
  std::vector<float> noise(n), previous(n);
  Queue queue({}, 1);
  NoiseDraw draw = draw_of(options, 6, n, state);
  for (int t = 0; t < steps; ++t) {
    draw.step = static_cast<uint32_t>(t);
    draw_noise(queue, draw, noise.data());
    for (int64_t i = 0; i < n; ++i) {
      sum[i] += noise[i];
      squares[i] += static_cast<double>(noise[i]) * noise[i];
      neighbours[i] += static_cast<double>(noise[i]) * previous[i];
    }
    previous = noise;
  }
  for (int64_t i = 0; i < n; ++i) {
    const double s = state.gradient_sum[i];
    const double variance = std::max(0.0, 0.2 + 0.3 * state.second_moment[i] - 0.0002 * s * s);
    const double error = 5 / std::sqrt(static_cast<double>(steps)) * variance + 1e-6;
    INFO("coordinate " << i);
    CHECK(std::fabs(sum[i] / steps) <= 5 * std::sqrt(variance / steps));
    CHECK(std::fabs(squares[i] / steps - variance) <= error * std::sqrt(2.0));
    CHECK(std::fabs(neighbours[i] / steps) <= error);
  }
}

TEST_CASE("noise depends on seed, step and tensor") {
  const Options options{.noise = {.constant = 1}};
  const State state(40, 1);
  Queue queue({}, 1);
  const auto draw = [&](uint64_t seed, uint32_t step, uint32_t tensor) {
    NoiseDraw of_stream = draw_of(options, tensor, 40, state);
    of_stream.seed = seed;
    of_stream.step = step;
    std::vector<float> noise(40);
    draw_noise(queue, of_stream, noise.data());
    return noise;
  };
  const std::vector<float> noise = draw(1, 2, 3);
  CHECK(noise == draw(1, 2, 3));
  CHECK(noise != draw(2, 2, 3));
  CHECK(noise != draw(uint64_t{1} << 32 | 1, 2, 3));
  CHECK(noise != draw(1, 3, 3));
  CHECK(noise != draw(1, 2, 4));
}

TEST_CASE("NaN in a gradient or a second moment passes the clamp") {
  const Options options{.noise = {.constant = 0.1f, .second_moment = 0.3f}};
  for (simd::Isa isa : supported_isas()) {
    State state(100, 1);
    state.second_moment[50] = NAN;
    state.gradient_sum[99] = NAN;
    const Outcome outcome = step(simd::simd_kernels(isa), 1, options, state, 1);
    for (size_t i = 0; i < 100; ++i) CHECK(std::isnan(outcome.value[i]) == (i == 50 || i == 99));
  }
}

TEST_CASE("a segment that lacks what its noise or momentum needs is an error") {
  Queue queue({}, 1);
  const State state(4, 1);
  std::vector<float> value(4), noise(4);
  const Options options{.velocity = false, .noise = {}};
  SgdSegment one = segment(options, 1, 4, value.data(), nullptr, state);
  SgdHyperparameters h = hyperparameters(options);
  CHECK_NOTHROW(sgd_step(queue, std::span(&one, 1), h, nullptr));
  NoiseDraw draw = draw_of(options, 1, 4, state);
  one.noise.variance.second_moment = draw.field.variance.second_moment = 1;
  CHECK_THROWS_AS(sgd_step(queue, std::span(&one, 1), h, nullptr), Error);
  CHECK_THROWS_AS(draw_noise(queue, draw, noise.data()), Error);
  one.noise.variance.second_moment = draw.field.variance.second_moment = 0;
  h.momentum = 0.9f;
  CHECK_THROWS_AS(sgd_step(queue, std::span(&one, 1), h, nullptr), Error);
  h.momentum = 0;
  one.gradient_sum = draw.gradient_sum = nullptr;
  CHECK_THROWS_AS(sgd_step(queue, std::span(&one, 1), h, nullptr), Error);
  draw.field.variance.constant = 1;
  CHECK_NOTHROW(draw_noise(queue, draw, noise.data()));
  draw.field.variance.gradient_sum = 1;
  CHECK_THROWS_AS(draw_noise(queue, draw, noise.data()), Error);
}
