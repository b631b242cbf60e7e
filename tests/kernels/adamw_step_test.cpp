#include <noisysgd/kernels/adamw_step.h>

#include <cmath>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"
#include "tests/reference/normal_reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

struct State {
  explicit State(int64_t n)
      : value(random_tensor(n, 1)),
        first(random_tensor(n, 2)),
        second(random_tensor(n, 3, 2, 2)),
        gradient_sum(random_tensor(n, 4, 0, 50)),
        second_moment(random_tensor(n, 5, 2, 2)),
        vector(random_tensor(n, 6)) {}
  AdamWSegment segment(const NoiseField& noise, uint32_t tensor) {
    return {.n = static_cast<int64_t>(value.size()),
            .value = value.data(),
            .first = first.data(),
            .second = second.data(),
            .gradient_sum = gradient_sum.data(),
            .noise = noise,
            .tensor = tensor};
  }
  std::vector<float> value, first, second, gradient_sum, second_moment, vector;
};

struct Reference {
  std::vector<double> value, first, second;
  double gradient_squared = 0, noise_squared = 0;
};

// The formulas of the header in fp64, with decoupled decay as Loshchilov & Hutter write it: theta (1 - alpha lambda).
Reference reference_step(const State& state, const NoiseField& noise, const AdamWHyperparameters& h, uint32_t tensor,
                         double clip) {
  const double t = h.step.value() + 1.0, b1 = h.beta1, b2 = h.beta2, alpha = h.learning_rate.value();
  const RandomStream stream{h.seed, h.step, tensor, RandomPurpose::noise};
  Reference result;
  for (size_t i = 0; i < state.value.size(); ++i) {
    const double sum = state.gradient_sum[i], mean = sum / 64;
    double eps = noise.vector ? state.vector[i] : 0;
    if (noise.variance.any())
      eps += std::sqrt(noise.variance.constant + noise.variance.second_moment * double{state.second_moment[i]} +
                       noise.variance.gradient_sum * sum * sum) *
             normal_reference(stream, i).value;
    const double direction = clip * mean + (h.noise_after_momentum ? 0 : eps);
    const double first = b1 * state.first[i] + (1 - b1) * direction;
    const double second = b2 * state.second[i] + (1 - b2) * direction * direction;
    const double adam = first / (1 - std::pow(b1, t)) / (std::sqrt(second / (1 - std::pow(b2, t))) + h.epsilon);
    result.value.push_back(state.value[i] * (1 - alpha * h.weight_decay) - alpha * adam -
                           (h.noise_after_momentum ? alpha * eps : 0));
    result.first.push_back(first);
    result.second.push_back(second);
    result.gradient_squared += mean * mean;
    result.noise_squared += eps * eps;
  }
  return result;
}

}  // namespace

TEST_CASE("AdamW follows its formula with every noise, at every step, on any number of threads") {
  const auto [n, threads] = GENERATE(table<int64_t, int>({{1, 1}, {31, 1}, {32, 2}, {33, 1}, {1025, 1}, {40'003, 3}}));
  const uint32_t number = GENERATE(0u, 1u, 1000u);
  const bool after = GENERATE(false, true);
  State state(n);
  const NoiseField fields[] = {
      {},
      {.vector = state.vector.data()},
      {.variance = {.constant = 0.1f, .second_moment = 0.3f, .gradient_sum = 0.001f},
       .second_moment = state.second_moment.data(),
       .vector = state.vector.data()}};
  for (const NoiseField& noise : fields) {
    State stepped = state;
    const AdamWHyperparameters h{.learning_rate = 0.1f,
                                 .beta1 = 0.9f,
                                 .beta2 = 0.99f,
                                 .epsilon = 1e-3f,
                                 .weight_decay = 0.05f,
                                 .inverse_batch = 1.0f / 64,
                                 .gradient_factor = 0.5,
                                 .noise_after_momentum = after,
                                 .seed = 0xFEDCBA9876543210,
                                 .step = number};
    Queue queue({}, threads);
    StepNorms norms{.gradient_squared = 1000, .noise_squared = 2000};
    const AdamWSegment segment = stepped.segment(noise, 5);
    adamw_step(queue, std::span(&segment, 1), h, &norms);
    const Reference expected = reference_step(state, noise, h, 5, 0.5);
    CHECK(compare(stepped.value, expected.value, {.terms = 16}) == "");
    CHECK(compare(stepped.first, expected.first, {.terms = 16}) == "");
    CHECK(compare(stepped.second, expected.second, {.terms = 16}) == "");
    CHECK(norms.gradient_squared == Approx(1000 + expected.gradient_squared).epsilon(1e-6));
    CHECK(norms.noise_squared == Approx(2000 + expected.noise_squared).epsilon(1e-6));
  }
}

TEST_CASE("a halted step of AdamW changes nothing, and a missing moment is an error") {
  State state(40);
  const State before = state;
  Queue queue({}, 1);
  const uint32_t halted = 1;
  AdamWHyperparameters h{.learning_rate = 0.1f, .inverse_batch = 1, .halted = {0, &halted}};
  AdamWSegment segment = state.segment({}, 1);
  adamw_step(queue, std::span(&segment, 1), h, nullptr);
  CHECK(state.value == before.value);
  CHECK(state.first == before.first);
  h.halted = 0;
  segment.second = nullptr;
  CHECK_THROWS_WITH(adamw_step(queue, std::span(&segment, 1), h, nullptr),
                    "adamw_step: tensor 1 lacks its value, its moments or its gradient");
}
