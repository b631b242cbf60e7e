#include <noisysgd/optim/sgd.h>

#include <cmath>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/optim/parameters.h"
#include "tests/optim/state_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

const std::string fisher_noise = R"({"type": "diagonal_fisher", "small_batch": 4, "scale": 3})";
const std::string fisher_noise_after =
    R"({"type": "diagonal_fisher", "small_batch": 4, "scale": 3, "position": "after_momentum"})";
constexpr float learning_rate = 0.05f;

struct Stepped {
  std::vector<float> value, velocity, noise;
  kernels::StepNorms norms;
};

// One step from the same state every time, and the noise it should have drawn; clip: the factor of clipping.
Stepped step_once(const SgdOptions& options, const std::string& noise_json, bool noisy = true, double clip = 1,
                  uint64_t seed = 9, uint32_t step = 3) {
  Parameters parameters;
  NoiseOfSums noise(parameters, noise_json);
  Sgd sgd(options);
  sgd.begin(parameters.context, parameters.set);
  uint32_t stream = 70;
  for_each_state(sgd, [&](const std::string&, const Tensor& velocity) { Parameters::put(velocity, ++stream); });
  Stepped stepped;
  stepped.noise = noisy ? noise.draw(seed, step) : std::vector<float>(42);
  std::vector<Tensor> kept;
  const std::vector<kernels::NoiseField> fields = noise.fields(seed, step, kept);
  sgd.step({.gradient = parameters.sums.gradient,
            .noise = noisy ? fields : std::span<const kernels::NoiseField>(),
            .batch = Parameters::batch,
            .learning_rate = learning_rate,
            .gradient_factor = clip,
            .noise_after_momentum = noise.noise.options().after_momentum,
            .seed = seed,
            .step = step,
            .norms = &stepped.norms});
  stepped.value = values_of(parameters.all());
  for_each_state(sgd, [&](const std::string&, const Tensor& velocity) {
    stepped.velocity.insert(stepped.velocity.end(), velocity.f32(), velocity.f32() + velocity.elements());
  });
  return stepped;
}

// math.md's step in fp64, with the noise given.
void check_step(const SgdOptions& options, const std::string& noise_json, double clip = 1) {
  const Stepped stepped = step_once(options, noise_json, true, clip);
  const bool after = noise_json == fisher_noise_after;
  const Parameters before;
  std::vector<double> velocity;
  for (uint32_t stream = 71; stream <= 72; ++stream)
    for (const float v : random_tensor(stream == 71 ? 35 : 7, stream, 0, 2)) velocity.push_back(v);
  const std::vector<double> value = to_double(values_of(before.all())),
                            sums = to_double(gather(before.all(), before.sums.gradient));
  double squares = 0;
  for (const double sum : sums) squares += sum * sum;
  const double norm = std::sqrt(squares) / static_cast<double>(Parameters::batch);
  CHECK(std::sqrt(stepped.norms.gradient_squared) == Approx(norm).epsilon(1e-5));  // as it was before clipping
  std::vector<double> new_value, new_velocity;
  for (size_t i = 0; i < value.size(); ++i) {
    const double noise = stepped.noise[i], before_momentum = after ? 0 : noise, after_momentum = after ? noise : 0;
    const double gradient =
        clip * sums[i] / static_cast<double>(Parameters::batch) + before_momentum + options.weight_decay * value[i];
    new_velocity.push_back(options.momentum * velocity[i] + gradient);
    const double direction =
        (options.nesterov ? gradient + options.momentum * new_velocity[i] : new_velocity[i]) + after_momentum;
    new_value.push_back(value[i] - double{learning_rate} * direction);
  }
  CHECK(compare(stepped.velocity, new_velocity, {.terms = 4}) == "");
  CHECK(compare(stepped.value, new_value, {.terms = 4}) == "");
}

}  // namespace

TEST_CASE("the step is Algorithm 1 with momentum and weight decay") {
  const std::string noise = GENERATE_COPY(std::string(R"({"type": "none"})"), fisher_noise, fisher_noise_after);
  const double clip = GENERATE(1.0, 0.01);  // neither the noise nor the weight decay is clipped
  check_step({0.0, 0.0, false}, noise, clip);
  check_step({0.9, 0.0, false}, noise, clip);
  check_step({0.9, 0.01, false}, noise, clip);
  check_step({0.9, 0.01, true}, noise, clip);
}

TEST_CASE("a step without noise is the step of a run that has none") {
  const Stepped quiet = step_once({}, fisher_noise, false), none = step_once({}, R"({"type": "none"})");
  CHECK(quiet.value == none.value);
  CHECK(quiet.velocity == none.velocity);
  CHECK(quiet.norms.noise_squared == 0);
}

TEST_CASE("noise is a function of seed, step and tensor, and nothing else") {
  const auto noise = [](uint64_t seed, uint32_t step) { return step_once({}, fisher_noise, true, 1, seed, step).noise; };
  CHECK(noise(9, 3) == noise(9, 3));
  CHECK(noise(9, 3) != noise(9, 4));
  CHECK(noise(9, 3) != noise(10, 3));
  // The first numbers of both tensors, standardised: different streams.
  Parameters parameters;
  const std::vector<float> draws = NoiseOfSums(parameters, R"({"type": "isotropic", "sigma": 1})").draw(9, 3);
  for (size_t i = 0; i < 7; ++i) CHECK(draws[i] != draws[35 + i]);
}

TEST_CASE("the norms of gradient and noise are those of the whole vector") {
  const Stepped stepped = step_once({}, fisher_noise);
  const Parameters parameters;
  double gradient = 0, noise = 0;
  for (const float sum : gather(parameters.all(), parameters.sums.gradient))
    gradient += static_cast<double>(sum) * sum / (Parameters::batch * Parameters::batch);
  for (const float value : stepped.noise) noise += static_cast<double>(value) * value;
  CHECK(stepped.norms.gradient_squared == Approx(gradient).epsilon(1e-5));
  CHECK(stepped.norms.noise_squared == Approx(noise).epsilon(1e-5));
}

TEST_CASE("optimizer options are read strictly") {
  const auto read = [](const std::string& json) {
    const OptimizerRegistry registry = OptimizerRegistry::builtin();
    const Config config(parse_json(json, "test"), "test");
    const OptimizerOptions options = registry.read(config.root());
    registry.build(options.type, config.root());
    config.finish();
    return options;
  };
  CHECK(read(R"({"learning_rate": 0.5, "momentum": 0.8, "weight_decay": 1e-4, "nesterov": true})").learning_rate == 0.5);
  CHECK(read("{}").learning_rate == 0.1);
  CHECK_THROWS_AS(read(R"({"learning_rate": 0})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"momentum": 1})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"momentum": 0, "nesterov": true})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"type": "adam"})"), ConfigError);
}
