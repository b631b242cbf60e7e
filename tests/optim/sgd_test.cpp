#include "optim/sgd.h"

#include <cmath>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/optim/parameters.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

const std::string fisher_noise = R"({"type": "diagonal_fisher", "small_batch": 4, "scale": 3})";
const std::string fisher_noise_after =
    R"({"type": "diagonal_fisher", "small_batch": 4, "scale": 3, "position": "after_momentum"})";

struct Stepped {
  std::vector<float> value, velocity, noise;
  kernels::SgdNorms norms;
};

// One step from the same state every time, and the noise it should have drawn.
Stepped step_once(const SgdOptions& options, const std::string& noise_json, SgdStep step) {
  Parameters parameters;
  const Noise noise = noise_from(noise_json);
  Sgd sgd(parameters.context, options, {}, noise);
  Stepped stepped;
  stepped.noise = gather(sgd.draw_noise(parameters.all(), step));
  sgd.step(parameters.all(), step, &stepped.norms);
  stepped.value = gather(parameters.all(), &Parameter::value);
  stepped.velocity = gather(parameters.all(), &Parameter::velocity);
  return stepped;
}

// math.md's step in fp64, with the noise given.
void check_step(const SgdOptions& options, const std::string& noise_json) {
  const SgdStep step{0.05, Parameters::batch, 9, 3, true};
  const Stepped stepped = step_once(options, noise_json, step);
  const bool after = noise_json == fisher_noise_after;
  Parameters before;
  const std::vector<double> value = to_double(gather(before.all(), &Parameter::value)),
                            velocity = to_double(gather(before.all(), &Parameter::velocity)),
                            sums = to_double(gather(before.all(), &Parameter::gradient_sum));
  double squares = 0;
  for (const double sum : sums) squares += sum * sum;
  const double norm = std::sqrt(squares) / static_cast<double>(Parameters::batch);
  const double clip = options.clip_norm ? std::min(1.0, *options.clip_norm / norm) : 1;
  CHECK(std::sqrt(stepped.norms.gradient_squared) == Approx(norm).epsilon(1e-5));  // as it was before clipping
  std::vector<double> new_value, new_velocity;
  for (size_t i = 0; i < value.size(); ++i) {
    const double noise = stepped.noise[i], before_momentum = after ? 0 : noise, after_momentum = after ? noise : 0;
    const double gradient =
        clip * sums[i] / static_cast<double>(Parameters::batch) + before_momentum + options.weight_decay * value[i];
    new_velocity.push_back(options.momentum * velocity[i] + gradient);
    const double direction =
        (options.nesterov ? gradient + options.momentum * new_velocity[i] : new_velocity[i]) + after_momentum;
    new_value.push_back(value[i] - step.learning_rate.value() * direction);
  }
  CHECK(compare(stepped.velocity, new_velocity, {.terms = 4}) == "");
  CHECK(compare(stepped.value, new_value, {.terms = 4}) == "");
}

}  // namespace

TEST_CASE("the step is Algorithm 1 with momentum and weight decay") {
  const std::string noise = GENERATE_COPY(std::string(R"({"type": "none"})"), fisher_noise, fisher_noise_after);
  check_step({0.05, 0.0, 0.0, false}, noise);
  check_step({0.05, 0.9, 0.0, false}, noise);
  check_step({0.05, 0.9, 0.01, false}, noise);
  check_step({0.05, 0.9, 0.01, true}, noise);
}

TEST_CASE("clipping scales the mean gradient to the norm given, and neither the noise nor the weight decay") {
  const std::string noise = GENERATE_COPY(std::string(R"({"type": "none"})"), fisher_noise, fisher_noise_after);
  check_step({0.05, 0.9, 0.01, false, 0.01}, noise);
  check_step({0.05, 0.9, 0.01, true, 0.01}, noise);
  check_step({0.05, 0.9, 0.01, false, 1000.0}, noise);  // far above the norm: nothing to clip
}

TEST_CASE("draw_noise is what the step adds to the mean gradient") {
  const SgdOptions plain{1.0, 0.0, 0.0, false};
  const SgdStep with{1.0, Parameters::batch, 9, 3, true}, without{1.0, Parameters::batch, 9, 3, false};
  const Stepped noisy = step_once(plain, fisher_noise, with), quiet = step_once(plain, fisher_noise, without);
  CHECK(quiet.noise == std::vector<float>(42, 0.0f));
  std::vector<float> difference;  // of velocities: without momentum they are gradients
  for (size_t i = 0; i < noisy.velocity.size(); ++i) difference.push_back(noisy.velocity[i] - quiet.velocity[i]);
  CHECK(compare(difference, to_double(noisy.noise), {.condition = 4}) == "");
}

TEST_CASE("a step without noise is the step of a run that has none") {
  const SgdStep step{0.1, Parameters::batch, 9, 3, false};
  const Stepped quiet = step_once({}, fisher_noise, step), none = step_once({}, R"({"type": "none"})", step);
  CHECK(quiet.value == none.value);
  CHECK(quiet.velocity == none.velocity);
}

TEST_CASE("noise is a function of seed, step and tensor, and nothing else") {
  const auto noise = [](uint64_t seed, uint32_t step) {
    return step_once({}, fisher_noise, {0.1, Parameters::batch, seed, step, true}).noise;
  };
  CHECK(noise(9, 3) == noise(9, 3));
  CHECK(noise(9, 3) != noise(9, 4));
  CHECK(noise(9, 3) != noise(10, 3));
  // The first numbers of both tensors, standardised: different streams.
  const Noise isotropic = noise_from(R"({"type": "isotropic", "sigma": 1})");
  Parameters parameters;
  Sgd sgd(parameters.context, {}, {}, isotropic);
  const auto draws = sgd.draw_noise(parameters.all(), {0.1, Parameters::batch, 9, 3, true});
  for (int i = 0; i < 7; ++i) CHECK(draws[0].f32()[i] != draws[1].f32()[i]);
}

TEST_CASE("the norms of gradient and noise are those of the whole vector") {
  const Stepped stepped = step_once({}, fisher_noise, {0.1, Parameters::batch, 9, 3, true});
  Parameters parameters;
  double gradient = 0, noise = 0;
  for (const float sum : gather(parameters.all(), &Parameter::gradient_sum))
    gradient += static_cast<double>(sum) * sum / (Parameters::batch * Parameters::batch);
  for (const float value : stepped.noise) noise += static_cast<double>(value) * value;
  CHECK(stepped.norms.gradient_squared == Approx(gradient).epsilon(1e-5));
  CHECK(stepped.norms.noise_squared == Approx(noise).epsilon(1e-5));
}

TEST_CASE("statistics are collected for the noise that needs them") {
  Context context;
  const FisherOptions fisher{SecondMoment::spatial, FisherLabels::data, false};
  const Noise diagonal = noise_from(fisher_noise), isotropic = noise_from(R"({"type": "isotropic", "sigma": 1})");
  const NoiseBatch batch{Parameters::batch, 0, 1, 0};
  CHECK(Sgd(context, {}, fisher, diagonal).passes(batch).statistics.second_moment == SecondMoment::spatial);
  CHECK(Sgd(context, {}, fisher, isotropic).passes(batch).statistics.second_moment == SecondMoment::none);
}

TEST_CASE("optimizer options are read strictly") {
  const auto read = [](const std::string& json) {
    Config config(parse_json(json, "test"), "test");
    const SgdOptions options = read_sgd(config.root());
    config.finish();
    return options;
  };
  const SgdOptions options = read(R"({"learning_rate": 0.5, "momentum": 0.8, "weight_decay": 1e-4, "nesterov": true})");
  CHECK(options.learning_rate == 0.5);
  CHECK(options.momentum == 0.8);
  CHECK(options.weight_decay == 1e-4);
  CHECK(options.nesterov);
  CHECK_THROWS_AS(read(R"({"learning_rate": 0})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"momentum": 1})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"momentum": 0, "nesterov": true})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"type": "adam"})"), ConfigError);
}
