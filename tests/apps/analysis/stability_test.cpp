// Appendix B: the covariance of the process against its differential equation, the Hellinger distance against
// integration.
#include <noisysgd/apps/analysis/stability.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

Matrix scaled_sum(const Matrix& a, double factor, const Matrix& b) {
  Matrix c = a;
  for (size_t i = 0; i < c.values.size(); ++i) c.values[i] += factor * b.values[i];
  return c;
}

// -(A S + S A) + rate C C', entry by entry.
Matrix drift(const Matrix& a, const Matrix& s, const Matrix& noise, double rate) {
  Matrix d(a.rows, a.rows);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.rows; ++j) {
      d(i, j) = rate * noise(i, j);
      for (int64_t k = 0; k < a.rows; ++k) d(i, j) -= a(i, k) * s(k, j) + s(i, k) * a(k, j);
    }
  return d;
}

// Runge and Kutta's method of fourth order from S(0) = 0.
Matrix integrated(const Matrix& a, const Matrix& noise, double rate, double time, int steps) {
  Matrix s(a.rows, a.rows);
  const double h = time / steps;
  for (int step = 0; step < steps; ++step) {
    const Matrix k1 = drift(a, s, noise, rate), k2 = drift(a, scaled_sum(s, h / 2, k1), noise, rate),
                 k3 = drift(a, scaled_sum(s, h / 2, k2), noise, rate), k4 = drift(a, scaled_sum(s, h, k3), noise, rate);
    s = scaled_sum(scaled_sum(scaled_sum(scaled_sum(s, h / 6, k1), h / 3, k2), h / 3, k3), h / 6, k4);
  }
  return s;
}

Matrix matrix_1d(double value) {
  Matrix a(1, 1);
  a(0, 0) = value;
  return a;
}

// 1 - integral of sqrt(p q), by the trapezoidal rule, which converges exponentially here.
double integrated_hellinger(double mean1, double variance1, double mean2, double variance2) {
  const auto density = [](double x, double mean, double variance) {
    return std::exp(-(x - mean) * (x - mean) / (2 * variance)) / std::sqrt(2 * std::numbers::pi * variance);
  };
  double sum = 0;
  constexpr double h = 1e-3;
  for (double x = -40; x < 40; x += h)
    sum += h * std::sqrt(density(x, mean1, variance1) * density(x, mean2, variance2));
  return 1 - sum;
}

Spectrum some_spectrum() { return {{0.05, 0.4, 1, 2.5}, random_rotation(4, 21)}; }

}  // namespace

TEST_CASE("the covariance of the process solves its differential equation") {
  const Spectrum spectrum = some_spectrum();
  const Matrix a = matrix_of(spectrum);
  for (const NoiseShape shape : {NoiseShape::full, NoiseShape::diagonal, NoiseShape::identity})
    for (const double time : {0.01, 0.7, 5.0}) {
      INFO(name_of(shape) << ", t = " << time);
      const Matrix noise = noise_covariance(a, shape);
      const Matrix reference = integrated(a, noise, 0.3, time, 2000);
      const Gaussian process = process_at(time, spectrum, noise, 0.3, {1, 0, 0, 0});
      for (size_t i = 0; i < reference.values.size(); ++i)
        CHECK(process.covariance.values[i] == Approx(reference.values[i]).epsilon(1e-9).margin(1e-12));
    }
}

TEST_CASE("the mean of the process solves its differential equation") {
  const Spectrum spectrum = some_spectrum();
  const Matrix a = matrix_of(spectrum);
  std::vector<double> mean{1, -2, 0.5, 3};
  const std::vector<double> start = mean;
  constexpr int steps = 20'000;  // explicit midpoint rule up to t = 2
  const auto decay = [&](const std::vector<double>& m) {
    std::vector<double> d(4);
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t k = 0; k < 4; ++k) d[static_cast<size_t>(i)] -= a(i, k) * m[static_cast<size_t>(k)];
    return d;
  };
  for (int step = 0; step < steps; ++step) {
    std::vector<double> half = mean;
    const std::vector<double> first = decay(mean);
    for (size_t i = 0; i < 4; ++i) half[i] += 1.0 / steps * first[i];
    const std::vector<double> second = decay(half);
    for (size_t i = 0; i < 4; ++i) mean[i] += 2.0 / steps * second[i];
  }
  const Gaussian process = process_at(2, spectrum, noise_covariance(a, NoiseShape::full), 0.1, start);
  for (size_t i = 0; i < 4; ++i) CHECK(process.mean[i] == Approx(mean[i]).epsilon(1e-6));
}

TEST_CASE("at late times the covariance is (rate/2) I under full noise, whatever the data") {
  const Spectrum spectrum = some_spectrum();
  const Gaussian process =
      process_at(1e4, spectrum, noise_covariance(matrix_of(spectrum), NoiseShape::full), 0.2, {1, 1, 1, 1});
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 4; ++j) CHECK(process.covariance(i, j) == Approx(i == j ? 0.1 : 0).margin(1e-13));
}

TEST_CASE("the Hellinger distance of two Gaussians of one dimension is that of their densities") {
  for (const double mean : {0.0, 0.5, 4.0})
    for (const double variance : {0.2, 1.0, 5.0}) {
      INFO("means 0 and " << mean << ", variances 1 and " << variance);
      const Gaussian p{{0}, matrix_1d(1)}, q{{mean}, matrix_1d(variance)};
      CHECK(hellinger_squared(p, q) == Approx(integrated_hellinger(0, 1, mean, variance)).epsilon(1e-8).margin(1e-12));
      CHECK(hellinger_squared(p, q) == Approx(hellinger_squared(q, p)).margin(1e-14));
    }
}

TEST_CASE("the affinity of Gaussians with commuting covariances is the product over their common axes") {
  const Matrix rotation = random_rotation(3, 5);
  const std::vector<double> first{0.1, 1, 3}, second{0.2, 0.7, 4}, offset{0.3, -0.2, 1};
  const auto gaussian = [&](const std::vector<double>& variances, const std::vector<double>& along) {
    Gaussian g{std::vector<double>(3), matrix_of({variances, rotation})};
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t k = 0; k < 3; ++k) g.mean[static_cast<size_t>(i)] += rotation(i, k) * along[static_cast<size_t>(k)];
    return g;
  };
  double affinity = 1;
  for (size_t k = 0; k < 3; ++k) affinity *= 1 - integrated_hellinger(0, first[k], offset[k], second[k]);
  CHECK(hellinger_squared(gaussian(first, {0, 0, 0}), gaussian(second, offset)) == Approx(1 - affinity).epsilon(1e-8));
}

TEST_CASE("the Hellinger distance keeps its digits where it is small, and refuses a singular covariance") {
  // Equal variances, means apart by m: H^2 = 1 - exp(-m^2/8).
  const Gaussian p{{0}, matrix_1d(1)}, q{{1e-6}, matrix_1d(1)};
  CHECK(hellinger_squared(p, q) == Approx(1.25e-13).epsilon(1e-9));
  CHECK(contains(error_of([&] { hellinger_squared(p, {{0}, matrix_1d(-1)}); }), "not positive definite"));
}

TEST_CASE("of full and identity noise the identity is the more sensitive at late times and the less at early times") {
  const Spectrum here = some_spectrum();
  Spectrum there = here;
  there.eigenvalues = {0.055, 0.38, 1.1, 2.4};
  const std::vector<double> zero(4);
  const auto distance = [&](NoiseShape shape, double time) {
    return hellinger_squared(process_at(time, here, noise_covariance(matrix_of(here), shape), 0.1, zero),
                             process_at(time, there, noise_covariance(matrix_of(there), shape), 0.1, zero));
  };
  CHECK(distance(NoiseShape::identity, 500) > 10 * distance(NoiseShape::full, 500));
  CHECK(distance(NoiseShape::full, 1e-3) > 10 * distance(NoiseShape::identity, 1e-3));
}
