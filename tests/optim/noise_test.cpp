#include <noisysgd/optim/noise/noise.h>

#include <fmt/format.h>

#include <cmath>

#include "tests/catch.h"
#include "tests/optim/parameters.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr int draws = 2000;

// Sums over draws of every coordinate and of its square.
struct Sampled {
  std::vector<double> mean, mean_square;
};

Sampled sample(NoiseOfSums& noise) {
  Sampled sampled;
  for (uint32_t k = 0; k < draws; ++k) {
    const std::vector<float> values = noise.draw(5, k);
    sampled.mean.resize(values.size());
    sampled.mean_square.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      sampled.mean[i] += values[i] / draws;
      sampled.mean_square[i] += static_cast<double>(values[i]) * values[i] / draws;
    }
  }
  return sampled;
}

// Mean 0 and the given variance, each coordinate within six standard errors and all of them together within five.
void check_moments(const Sampled& sampled, const std::vector<double>& variance) {
  REQUIRE(sampled.mean.size() == variance.size());
  double total = 0;
  for (size_t i = 0; i < variance.size(); ++i) {
    REQUIRE(variance[i] > 0);
    CHECK(std::abs(sampled.mean[i]) <= 6 * std::sqrt(variance[i] / draws));
    CHECK(std::abs(sampled.mean_square[i] / variance[i] - 1) <= 6 * std::sqrt(2.0 / draws));
    total += sampled.mean_square[i] / variance[i];
  }
  const auto n = static_cast<double>(variance.size());
  CHECK(std::abs(total / n - 1) <= 5 * std::sqrt(2.0 / (draws * n)));
}

}  // namespace

TEST_CASE("kappa is (M_L - M_S)/(M_L M_S), and 0 if M_L is not larger than M_S") {
  CHECK(noise_kappa(4096, 128) == Approx(7.568359375e-3));
  CHECK(noise_kappa(256, 128) == Approx(1.0 / 256));
  CHECK(noise_kappa(128, 128) == 0);
  CHECK(noise_kappa(64, 128) == 0);
}

TEST_CASE("diagonal Fisher noise has mean 0 and variance kappa D in every coordinate") {
  Parameters parameters;
  const bool centered = GENERATE(false, true);
  const auto [json, kappa] = GENERATE(
      table<std::string, double>({{R"({"type": "diagonal_fisher", "small_batch": 4})", 1.0 / 4 - 1.0 / 32},
                                  {R"({"type": "diagonal_fisher", "small_batch": 4, "large_batch": 16, "scale": 0.5})",
                                   0.25 * (1.0 / 4 - 1.0 / 16)}}));
  const auto m = static_cast<double>(Parameters::batch);
  const std::vector<float> sums = gather(parameters.all(), parameters.sums.gradient),
                           squares = gather(parameters.all(), parameters.sums.second_moment);
  std::vector<double> variance;
  for (size_t i = 0; i < sums.size(); ++i) {
    const double sum = sums[i], square = squares[i];
    variance.push_back(kappa * (centered ? (square - sum * sum / m) / (m - 1) : square / m));
  }
  NoiseOfSums noise(parameters, json, {.centered = centered});
  check_moments(sample(noise), variance);
}

TEST_CASE("isotropic noise has mean 0 and the given deviation everywhere") {
  Parameters parameters(false);  // it needs no second moment
  NoiseOfSums isotropic(parameters, R"({"type": "isotropic", "sigma": 0.3})");
  CHECK_FALSE(isotropic.noise.needs_second_moment());
  check_moments(sample(isotropic), std::vector<double>(42, 0.09));
}

TEST_CASE("noise is 0 for type none, for M_L not above M_S and at scale 0") {
  Parameters parameters;
  const std::string json = GENERATE(R"({"type": "none"})", R"({"type": "diagonal_fisher", "small_batch": 32})",
                                    R"({"type": "isotropic", "sigma": 1, "scale": 0})");
  CHECK(NoiseOfSums(parameters, json).draw(5, 0) == std::vector<float>(42, 0.0f));
}

TEST_CASE("globs choose the parameters that receive noise") {
  Parameters parameters;
  NoiseOfSums globbed(parameters, R"({"type": "isotropic", "sigma": 1, "parameters": ["*.bias", "conv?.*"]})");
  const Noise& noise = globbed.noise;
  CHECK(noise.applies_to("layer.bias"));
  CHECK(noise.applies_to("conv1.weight"));
  CHECK_FALSE(noise.applies_to("layer.weight"));
  CHECK_FALSE(noise.applies_to("conv12.weight"));
  const std::vector<float> values = globbed.draw(5, 0);
  for (size_t i = 0; i < values.size(); ++i) CHECK((values[i] == 0) == (i < 35));  // 7 x 5 weights, then the biases
  CHECK_THROWS_WITH(noise.check_globs(parameters.all()),
                    "noise.parameters: \"conv?.*\" matches no parameter of this network; it has \"layer.weight\", "
                    "\"layer.bias\"");
}

TEST_CASE("noise stops after its fraction of the epochs") {
  CHECK(noise_from(R"({"type": "isotropic", "sigma": 1})").epochs_with_noise(200) == 50);
  CHECK(noise_from(R"({"type": "isotropic", "sigma": 1, "stop_fraction": 1})").epochs_with_noise(7) == 7);
  CHECK(noise_from(R"({"type": "isotropic", "sigma": 1, "stop_fraction": 0})").epochs_with_noise(7) == 0);
  CHECK(noise_from("{}").epochs_with_noise(200) == 0);
}

TEST_CASE("noise options are read strictly") {
  CHECK(noise_from("{}").options().type == "none");
  CHECK_FALSE(noise_from("{}").active());
  const Noise noise = noise_from(R"({"type": "diagonal_fisher", "position": "after_momentum"})");
  CHECK(noise.options().after_momentum);
  CHECK(noise.options().stop_fraction == 0.25);
  CHECK(noise.needs_second_moment());
  CHECK_THROWS_AS(noise_from(R"({"type": "isotropic"})"), ConfigError);
  CHECK_THROWS_AS(noise_from(R"({"type": "isotropic", "sigma": -1})"), ConfigError);
  CHECK_THROWS_AS(noise_from(R"({"type": "isotropic", "sigma": 1, "small_batch": 4})"), ConfigError);
  CHECK_THROWS_AS(noise_from(R"({"type": "none", "scale": 2})"), ConfigError);
  CHECK_THROWS_AS(noise_from(R"({"type": "diagonal", "small_batch": 4})"), ConfigError);
  CHECK_THROWS_AS(noise_from(R"({"type": "diagonal_fisher", "small_batch": 64, "large_batch": 64})"), ConfigError);
}

TEST_CASE("an amplitude is 0 or one whose square is neither 0 nor infinite in single precision") {
  const auto problem = [](const Json& noise) {
    const Config config(Json{{"noise", noise}});
    Noise::read(config.root().object("noise"), NoiseRegistry::builtin());
    try {
      config.finish();
    } catch (const ConfigError& error) {
      return error.problems().front();
    }
    return std::string();
  };
  for (const char* type : {"isotropic", "multiplicative"})
    for (const char* key : {"sigma", "scale"}) {
      Json noise{{"type", type}, {"sigma", 1}};
      for (const double good : {0.0, 1e-18, 1.0, 1e18}) {
        noise[key] = good;
        CHECK(problem(noise).empty());
      }
      noise[key] = 1e-19;
      CHECK(problem(noise) == fmt::format("$.noise.{}: must be 0 or at least 1e-18, got 1e-19", key));
      noise[key] = 2e18;
      CHECK(problem(noise) == fmt::format("$.noise.{}: must be at most 1e+18, got 2e+18", key));
    }
}
