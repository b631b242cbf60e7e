// Norms of the Fisher matrix from inner products of gradients against the dense matrix, cross-layer blocks included,
// built from gradients in double precision that are written from the formulas (tests/optim/tiny_network.h).
#include <noisysgd/apps/analysis/fisher_norms.h>

#include <cmath>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/optim/tiny_steps.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// [M][37], each of the network's samples.
std::vector<Vector> gradients(const TinyNetwork& net) {
  std::vector<Vector> all;
  for (int64_t n = 0; n < TinyNetwork::samples; ++n) all.push_back(net.gradient(n));
  return all;
}

// sum of squares of a symmetric matrix, or of its diagonal alone.
double norm_squared(const Covariance& matrix, bool diagonal = false) {
  double sum = 0;
  for (size_t i = 0; i < TinyNetwork::size; ++i)
    for (size_t j = 0; j < TinyNetwork::size; ++j)
      if (!diagonal || i == j) sum += matrix.at(i, j) * matrix.at(i, j);
  return sum;
}

Covariance fisher(const std::vector<Vector>& gradients) {
  Covariance matrix;
  for (const Vector& g : gradients) matrix.add(g, 1.0 / static_cast<double>(gradients.size()));
  return matrix;
}

}  // namespace

TEST_CASE("rows of sample gradients are those of the formulas, however the batch is cut") {
  TinyNetwork net;
  const int64_t pass = GENERATE(0, 1, 3, 8);
  const Tensor rows = sample_gradients(net.model, net.batch, {.pass = pass});
  REQUIRE(rows.shape() == Shape{TinyNetwork::samples, net.model.parameter_set().padded()});
  for (int64_t n = 0; n < TinyNetwork::samples; ++n) {
    std::vector<float> row;
    for (const Parameter* parameter : net.model.parameters())
      for (const float value : rows.rows(n, n + 1).view(parameter->offset, parameter->shape).span<float>())
        row.push_back(value);
    CHECK(compare(row, net.gradient(n), within(1e-5)) == "");
  }
}

TEST_CASE("norms are those of the dense Fisher matrix, blocks between layers included") {
  TinyNetwork net;
  const Covariance dense = fisher(gradients(net));
  const FisherNorms norms = fisher_norms(net.context, sample_gradients(net.model, net.batch));
  CHECK(norms.samples == TinyNetwork::samples);
  CHECK(norms.trace == Approx(dense.trace()).epsilon(1e-5));
  CHECK(norms.norm == Approx(std::sqrt(norm_squared(dense))).epsilon(1e-5));
  CHECK(norms.diagonal_norm == Approx(std::sqrt(norm_squared(dense, true))).epsilon(1e-5));
  CHECK(norms.diagonal_norm < norms.norm);
  CHECK(norms.norm < norms.trace);
  // Without the blocks between the two layers it would be another number.
  Covariance blocks;
  for (const Vector& g : gradients(net))
    blocks.add(g, 1.0 / TinyNetwork::samples,
               [](size_t i, size_t j) { return TinyNetwork::layer_of(i) == TinyNetwork::layer_of(j); });
  CHECK(std::sqrt(norm_squared(blocks)) < 0.99 * norms.norm);
}

TEST_CASE("means over pairs are unbiased for a population") {
  // The samples of the network are the population, drawn with replacement: all 8^2 batches of two have the mean of the
  // unbiased squares that is ||F||^2, and of the biased ones more than that.
  TinyNetwork net;
  const Covariance dense = fisher(gradients(net));
  const Tensor rows = sample_gradients(net.model, net.batch);
  double full = 0, diagonal = 0, biased = 0, at_samples = 0;
  const int64_t m = TinyNetwork::samples;
  for (int64_t a = 0; a < m; ++a)
    for (int64_t b = 0; b < m; ++b) {
      const Tensor two(net.context, {2, rows.shape()[1]});
      copy(net.context, rows.rows(a, a + 1), two.rows(0, 1));
      copy(net.context, rows.rows(b, b + 1), two.rows(1, 2));
      const FisherNorms norms = fisher_norms(net.context, two);
      const auto share = 1.0 / static_cast<double>(m * m);
      full += share * norms.population_norm_squared;
      diagonal += share * norms.population_diagonal_norm_squared;
      biased += share * norms.norm * norms.norm;
      at_samples += share * norms.norm_squared_of(2);
    }
  CHECK(full == Approx(norm_squared(dense)).epsilon(1e-5));
  CHECK(diagonal == Approx(norm_squared(dense, true)).epsilon(1e-5));
  CHECK(biased > 1.05 * full);
  CHECK(at_samples == Approx(biased).epsilon(1e-5));
}

TEST_CASE("the effective rank counts directions") {
  Context context({}, 1);
  // Six orthogonal gradients of one length, each twice: six directions.
  std::vector<float> values(12 * 8);
  for (size_t n = 0; n < 12; ++n) values[n * 8 + n % 6] = 3;
  const FisherNorms norms = fisher_norms(context, from_host(context, {12, 8}, values));
  CHECK(norms.trace == Approx(9));
  CHECK(norms.norm == Approx(9 / std::sqrt(6.0)));
  CHECK(norms.diagonal_norm == Approx(norms.norm));
  // Over pairs of different samples: of the 11 others one is the same.
  CHECK(norms.effective_rank == Approx(11));
  CHECK(norms.population_norm_squared == Approx(81.0 / 11));
  CHECK(norms.norm_squared_of(12) == Approx(norms.norm * norms.norm));
}

TEST_CASE("draws of full-Fisher noise have the norm of the Fisher matrix within their error") {
  TinyNetwork net;
  const double expected = norm_squared(fisher(gradients(net)));
  const int64_t small_batch = 2;
  TinySteps steps(net, R"({"type": "full_fisher", "small_batch": 2})");
  std::vector<std::vector<float>> draws;
  for (uint32_t r = 0; r < 200; ++r) {
    const Vector drawn = steps.draw(r);
    draws.emplace_back(drawn.begin(), drawn.end());
  }
  const NormFromDraws found =
      norm_from_draws(net.context, draws, noise_kappa(TinyNetwork::samples, small_batch));
  CHECK(std::abs(found.squared - expected) < 4 * found.standard_error);
  CHECK(found.standard_error < 0.15 * expected);
}

TEST_CASE("the error of the norm from draws is that of its spread") {
  // Normal vectors of covariance I in 20 dimensions: ||I||^2 = 20.
  Context context({}, 1);
  double mean = 0, squares = 0, claimed = 0;
  constexpr int repeats = 200;
  uint32_t stream = 0;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    std::vector<std::vector<float>> draws;
    for (int r = 0; r < 30; ++r) {
      // Sums of 12 uniforms less their mean: variance 1.
      const std::vector<float> uniform = random_tensor(240, 1000 + stream++, 0, 0.5f);
      std::vector<float> draw(20);
      for (size_t i = 0; i < 240; ++i) draw[i / 12] += uniform[i];
      draws.push_back(std::move(draw));
    }
    const NormFromDraws found = norm_from_draws(context, draws, 1);
    mean += found.squared / repeats;
    squares += found.squared * found.squared / repeats;
    claimed += found.standard_error / repeats;
  }
  const double spread = std::sqrt(squares - mean * mean);
  CHECK(std::abs(mean - 20) < 4 * spread / std::sqrt(double{repeats}));
  CHECK(claimed == Approx(spread).epsilon(0.2));
}
