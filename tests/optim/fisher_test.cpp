#include <noisysgd/optim/fisher.h>

#include <cmath>
#include <limits>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/optim/parameters.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

FisherOptions read(const std::string& json) {
  Config config(parse_json(json, "test"), "test");
  const FisherOptions options = read_fisher(config.root());
  config.finish();
  return options;
}

std::vector<double> squares_of_samples(const std::vector<std::vector<double>>& samples, bool centered) {
  const auto m = static_cast<double>(samples.size());
  std::vector<double> variance(samples[0].size());
  for (size_t i = 0; i < variance.size(); ++i) {
    double mean = 0, sum = 0;
    for (const auto& g : samples) mean += centered ? g[i] / m : 0;
    for (const auto& g : samples) sum += (g[i] - mean) * (g[i] - mean);
    variance[i] = sum / (centered ? m - 1 : m);
  }
  return variance;
}

// Per-sample gradients [M][7], with the sums of the bias that backward would compute.
std::vector<std::vector<double>> samples_into(const Parameters& parameters, int64_t batch) {
  float *const sums = parameters.sums.gradient.at(parameters.bias), *const squares = parameters.sums.second_moment.at(parameters.bias);
  std::vector<std::vector<double>> samples;
  std::fill_n(sums, 7, 0.0f);
  std::fill_n(squares, 7, 0.0f);
  for (int64_t n = 0; n < batch; ++n) {
    samples.push_back(to_double(random_tensor(7, 50 + static_cast<uint32_t>(n), 0.3f)));
    for (size_t i = 0; i < 7; ++i) {
      sums[i] += static_cast<float>(samples.back()[i]);
      squares[i] += static_cast<float>(samples.back()[i] * samples.back()[i]);
    }
  }
  return samples;
}

void diagonal_of(const FisherOptions& options, const Parameters& parameters, int64_t batch, std::vector<float>& diagonal) {
  const Tensor sums = parameters.sums.gradient.of(parameters.bias), squares = parameters.sums.second_moment.of(parameters.bias);
  fisher_diagonal(options, parameters.bias, batch, sums.span<float>(), squares.span<float>(), diagonal.data());
}

}  // namespace

TEST_CASE("diag(F) is the mean of squared per-sample gradients, centred their variance") {
  Parameters parameters;
  const auto samples = samples_into(parameters, 12);
  std::vector<float> diagonal = nan_tensor(7);
  for (const bool centered : {false, true}) {
    const FisherOptions options{SecondMoment::exact, Labels::data, centered};
    diagonal_of(options, parameters, 12, diagonal);
    CHECK(compare(diagonal, squares_of_samples(samples, centered), {.terms = 12, .condition = 4}) == "");
  }
}

TEST_CASE("diag(F) of sums that are not finite is not finite, and rounding does not make it negative") {
  Parameters parameters;
  samples_into(parameters, 12);
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
  float* const squares = parameters.sums.second_moment.at(parameters.bias);
  squares[2] = nan;
  squares[3] = infinite;
  squares[4] = 0;  // less than the subtracted square of the sum
  std::vector<float> diagonal(7);
  diagonal_of({SecondMoment::exact, Labels::data, true}, parameters, 12, diagonal);
  CHECK(std::isnan(diagonal[2]));
  CHECK(diagonal[3] == infinite);
  CHECK(diagonal[4] == 0);
}

TEST_CASE("spatial_mean divides by the positions that share a weight") {
  Parameters parameters;
  samples_into(parameters, 12);
  parameters.bias.positions = 9;
  std::vector<float> sum = nan_tensor(7), mean = nan_tensor(7);
  diagonal_of({SecondMoment::spatial, Labels::data, false}, parameters, 12, sum);
  diagonal_of({SecondMoment::spatial_mean, Labels::data, false}, parameters, 12, mean);
  for (size_t i = 0; i < 7; ++i) CHECK(9 * mean[i] == Approx(sum[i]));
}

TEST_CASE("a centred variance that rounding makes negative is zero; one sample has none") {
  Parameters parameters;
  std::fill_n(parameters.sums.gradient.at(parameters.bias), 7, 2.0f);
  std::fill_n(parameters.sums.second_moment.at(parameters.bias), 7, 0.999f);
  const FisherOptions options{SecondMoment::exact, Labels::data, true};
  std::vector<float> diagonal = nan_tensor(7);
  diagonal_of(options, parameters, 4, diagonal);
  CHECK(diagonal == std::vector<float>(7, 0.0f));
  CHECK_THROWS_WITH(diagonal_of(options, parameters, 1, diagonal),
                    "fisher.centered: the centred Fisher matrix of a single sample is not defined");
}

// The identity that defines kappa: over all subsets of M_S of M samples, the mean gradient has covariance kappa S^2.
TEST_CASE("kappa times the centred diagonal is the variance of small-batch means") {
  const int64_t large = 7, small = GENERATE(1, 2, 3, 6);
  Parameters parameters;
  const auto samples = samples_into(parameters, large);
  std::vector<double> expected(7), full(7);
  for (const auto& g : samples)
    for (size_t i = 0; i < 7; ++i) full[i] += g[i] / static_cast<double>(large);
  double subsets = 0;
  for (unsigned chosen = 0; chosen < (1u << large); ++chosen) {
    if (__builtin_popcount(chosen) != small) continue;
    ++subsets;
    for (size_t i = 0; i < 7; ++i) {
      double mean = 0;
      for (size_t n = 0; n < samples.size(); ++n)
        if (chosen >> n & 1u) mean += samples[n][i] / static_cast<double>(small);
      expected[i] += (mean - full[i]) * (mean - full[i]);
    }
  }
  for (double& value : expected) value /= subsets;
  std::vector<float> variance = nan_tensor(7);
  diagonal_of({SecondMoment::exact, Labels::data, true}, parameters, large, variance);
  for (float& value : variance) value *= static_cast<float>(noise_kappa(large, small));
  CHECK(compare(variance, expected, {.terms = 12, .condition = 4}) == "");
}

TEST_CASE("Fisher options") {
  const FisherOptions defaults = read("{}");
  CHECK(defaults.conv == SecondMoment::exact);
  CHECK(defaults.kind() == "empirical");
  CHECK_FALSE(defaults.centered);
  CHECK(read(R"({"conv": "spatial_mean"})").conv == SecondMoment::spatial_mean);
  CHECK(read(R"({"kind": "true"})").kind() == "true");
  CHECK(read(R"({"centered": true})").centered);
  CHECK_THROWS_AS(read(R"({"centered": true, "conv": "spatial"})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"centered": true, "kind": "true"})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"conv": "exakt"})"), ConfigError);
  CHECK_THROWS_AS(read(R"({"batch_norm": "ghost_variance"})"), ConfigError);  // without a ghost size
  CHECK(read(R"({"batch_norm": "activation_centered"})").batch_norm == GhostFisher::activation_centered);
  CHECK(read(R"({"batch_norm": "activation_centered", "centered": true, "kind": "empirical"})").centered);
  CHECK_THROWS_AS(read(R"({"batch_norm": "activation_centered", "conv": "spatial"})"), ConfigError);
  CHECK(defaults.refresh_every == 1);
  CHECK_FALSE(defaults.kept());
  CHECK(read(R"({"refresh_every": 3})").kept());
  CHECK(read(R"({"ema": 0.9})").kept());
  CHECK_THROWS_AS(read(R"({"ema": 1})"), ConfigError);
}
