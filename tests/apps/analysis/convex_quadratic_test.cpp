// The quadratic of Section 4: covariances, spectra, the recursion of the expected loss, Theorem 4.1's bound.
#include <noisysgd/apps/analysis/convex_quadratic.h>

#include <cmath>
#include <random>
#include <vector>

#include <noisysgd/apps/analysis/theorem_bound.h>
#include <noisysgd/core/json.h>
#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

Matrix figure4_matrix() {
  Matrix a(2, 2);
  a.values = {5, 4.5, 4.5, 5};
  return a;
}

double largest_difference(const Matrix& a, const Matrix& b) {
  double difference = 0;
  for (size_t i = 0; i < a.values.size(); ++i) difference = std::max(difference, std::abs(a.values[i] - b.values[i]));
  return difference;
}

Spectrum power_spectrum(int64_t dimension, double exponent, uint64_t seed) {
  std::vector<double> eigenvalues;
  for (int64_t i = dimension; i > 0; --i) eigenvalues.push_back(std::pow(static_cast<double>(i), -exponent));
  return {eigenvalues, random_rotation(dimension, seed)};
}

constexpr NoiseShape shapes[] = {NoiseShape::full, NoiseShape::diagonal, NoiseShape::isotropic, NoiseShape::identity};

// The whole second-moment matrix S_k = E theta theta' by its own recursion in the original basis:
// S <- (I - rate A) S (I - rate A) + rate^2 C C',  E L = tr(A S) / 2.
class DenseRecursion {
 public:
  DenseRecursion(const Matrix& a, const Matrix& noise, const std::vector<double>& start)
      : a_(a), noise_(noise), moments_(a.rows, a.rows) {
    for (int64_t i = 0; i < a.rows; ++i)
      for (int64_t j = 0; j < a.rows; ++j)
        moments_(i, j) = start[static_cast<size_t>(i)] * start[static_cast<size_t>(j)];
  }
  double loss() const {
    double sum = 0;
    for (int64_t i = 0; i < a_.rows; ++i)
      for (int64_t j = 0; j < a_.rows; ++j) sum += a_(i, j) * moments_(j, i);
    return sum / 2;
  }
  void step(double rate) {
    Matrix contraction(a_.rows, a_.rows);
    for (int64_t i = 0; i < a_.rows; ++i)
      for (int64_t j = 0; j < a_.rows; ++j) contraction(i, j) = (i == j) - rate * a_(i, j);
    moments_ = product(product(contraction, moments_), contraction);
    for (size_t i = 0; i < moments_.values.size(); ++i) moments_.values[i] += rate * rate * noise_.values[i];
  }

 private:
  static Matrix product(const Matrix& a, const Matrix& b) {
    Matrix c(a.rows, b.columns);
    for (int64_t i = 0; i < a.rows; ++i)
      for (int64_t j = 0; j < b.columns; ++j)
        for (int64_t k = 0; k < a.columns; ++k) c(i, j) += a(i, k) * b(k, j);
    return c;
  }

  Matrix a_, noise_, moments_;
};

}  // namespace

TEST_CASE("a rotation is orthogonal and uniform in sign, and a spectrum gives back its matrix") {
  const Matrix p = random_rotation(30, 7);
  Matrix identity(30, 30);
  for (int64_t i = 0; i < 30; ++i) identity(i, i) = 1;
  CHECK(largest_difference(transposed(p) * p, identity) < 1e-13);
  CHECK(largest_difference(random_rotation(30, 8), p) > 0.1);
  int positive = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) positive += random_rotation(3, seed)(0, 0) > 0;
  CHECK(positive > 25);
  CHECK(positive < 75);

  const Spectrum spectrum = spectrum_of(figure4_matrix());
  CHECK(spectrum.eigenvalues[0] == Approx(0.5));
  CHECK(spectrum.eigenvalues[1] == Approx(9.5));
  CHECK(largest_difference(matrix_of(spectrum), figure4_matrix()) < 1e-13);
}

TEST_CASE("noise covariances have the trace of A, and their roots square to them") {
  const Spectrum spectrum = power_spectrum(12, 1.5, 3);
  const Matrix a = matrix_of(spectrum);
  for (const NoiseShape shape : shapes) {
    INFO(name_of(shape));
    const Matrix covariance = noise_covariance(a, shape), root = symmetric_root(covariance);
    CHECK(largest_difference(root * transposed(root), covariance) < 1e-13);
    CHECK(trace(covariance) == Approx(shape == NoiseShape::identity ? 12 : trace(a)));
    // q by the definition, in place of the shortcuts.
    const Matrix rotated = transposed(spectrum.vectors) * covariance * spectrum.vectors;
    const std::vector<double> q = noise_along_eigenvectors(spectrum, shape);
    for (int64_t i = 0; i < 12; ++i) CHECK(q[static_cast<size_t>(i)] == Approx(rotated(i, i)).margin(1e-14));
  }
  const Matrix diagonal = noise_covariance(a, NoiseShape::diagonal);
  CHECK(diagonal(3, 3) == a(3, 3));
  CHECK(diagonal(3, 4) == 0);
}

TEST_CASE("the expected loss in the eigenbasis is that of the whole second-moment matrix") {
  const Spectrum spectrum = power_spectrum(6, 1, 5);
  const Matrix a = matrix_of(spectrum);
  const std::vector<double> start{1, -2, 0.5, 0, 3, 1};
  for (const NoiseShape shape : shapes) {
    ExpectedLoss expected(spectrum, noise_along_eigenvectors(spectrum, shape), start);
    DenseRecursion dense(a, noise_covariance(a, shape), start);
    for (int k = 0; k < 40; ++k) {
      INFO(name_of(shape) << ", step " << k);
      CHECK(expected.value() == Approx(dense.loss()).epsilon(1e-11));
      const double rate = 1.5 / (1 + k);
      expected.step(rate);
      dense.step(rate);
    }
  }
}

TEST_CASE("the quadratic of Figure 4 ends at an expected loss of 0.465 under full and 0.366 under diagonal noise") {
  const Spectrum spectrum = spectrum_of(figure4_matrix());
  const auto stationary = [&](NoiseShape shape) {
    const std::vector<double> q = noise_along_eigenvectors(spectrum, shape);
    ExpectedLoss expected(spectrum, q, {6, -4});
    for (int k = 0; k < 2000; ++k) expected.step(0.1);
    CHECK(expected.value() == Approx(stationary_loss(spectrum, q, 0.1)).epsilon(1e-12));
    return expected.value();
  };
  CHECK(stationary(NoiseShape::full) == Approx(0.465).margin(0.0005));
  CHECK(stationary(NoiseShape::diagonal) == Approx(0.366).margin(0.0005));
}

TEST_CASE("the mean loss of sampled runs is the expected loss within its error") {
  const Spectrum spectrum = power_spectrum(5, 1, 2);
  const Matrix a = matrix_of(spectrum);
  const std::vector<double> start{1, 1, -1, 2, 0};
  SampledRuns sampling{4000, {}, {0, 1, 5, 30}, 11};
  for (int k = 0; k < 30; ++k) sampling.rates.push_back(1.0 / (1 + 0.1 * k));
  for (const NoiseShape shape : shapes) {
    ++sampling.stream;
    const SampledLoss sampled = sample_loss(a, symmetric_root(noise_covariance(a, shape)), start, sampling);
    ExpectedLoss expected(spectrum, noise_along_eigenvectors(spectrum, shape), start);
    REQUIRE(sampled.mean.size() == 4);
    CHECK(sampled.mean[0] == Approx(expected.value()));
    CHECK(sampled.standard_error[0] < 1e-12);
    size_t next = 1;
    for (int k = 1; k <= 30; ++k) {
      expected.step(sampling.rates[static_cast<size_t>(k - 1)]);
      if (k != sampling.record[next]) continue;
      INFO(name_of(shape) << ", step " << k);
      CHECK(sampled.standard_error[next] > 0);
      CHECK(sampled.standard_error[next] < 0.05 * sampled.mean[next]);
      CHECK(std::abs(sampled.mean[next] - expected.value()) < 4.5 * sampled.standard_error[next]);
      ++next;
    }
  }
}

TEST_CASE("the bound of Theorem 4.1 is never below the expected loss, which goes to its limit over k") {
  for (const int64_t dimension : {1, 2, 10, 50})
    for (const double exponent : {0.0, 1.0})
      for (const double start_scale : {0.0, 1.0, 30.0})
        for (const NoiseShape shape : shapes) {
          const Spectrum spectrum = power_spectrum(dimension, exponent, 9);
          const std::vector<double> q = noise_along_eigenvectors(spectrum, shape);
          const TheoremSchedule schedule(spectrum);
          CHECK(schedule.rate(0) == Approx(1 / spectrum.eigenvalues.back()));
          ExpectedLoss expected(spectrum, q, std::vector<double>(static_cast<size_t>(dimension), start_scale));
          const double start_loss = expected.value();
          constexpr int64_t steps = 20'000;
          int64_t violations = 0;
          for (int64_t k = 0; k < steps; ++k) {
            violations += expected.value() > schedule.bound(k, spectrum, q, start_loss) * (1 + 1e-12);
            expected.step(schedule.rate(k));
          }
          INFO("dimension " << dimension << ", exponent " << exponent << ", start " << start_scale << ", "
                            << name_of(shape));
          CHECK(violations == 0);
          // The slowest part of what remains falls like (gamma / k)^3 beside the limit.
          if (dimension <= 10) CHECK(steps * expected.value() == Approx(schedule.limit(spectrum, q)).epsilon(0.02));
        }
}

TEST_CASE("in the limit of the theorem's schedule diagonal noise is never better than full noise") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Spectrum spectrum = power_spectrum(8, 1.2, seed);
    const TheoremSchedule schedule(spectrum);
    const auto limit = [&](NoiseShape shape) {
      return schedule.limit(spectrum, noise_along_eigenvectors(spectrum, shape));
    };
    const auto stationary = [&](NoiseShape shape) {
      return stationary_loss(spectrum, noise_along_eigenvectors(spectrum, shape), 0.5);
    };
    CHECK(limit(NoiseShape::diagonal) >= limit(NoiseShape::full));
    CHECK(stationary(NoiseShape::diagonal) <= stationary(NoiseShape::full));  // at a constant rate
  }
}

TEST_CASE("a quadratic of a configuration is read or refused in words") {
  const auto read = [](const char* text) {
    Config config(parse_config(text, "test"), "test");
    Spectrum spectrum = read_quadratic(config.root(), 1);
    config.finish();
    return spectrum;
  };
  CHECK(read(R"({"spectrum": {"type": "list", "eigenvalues": [9.5, 0.5]}})").eigenvalues ==
        std::vector<double>{0.5, 9.5});
  CHECK(read(R"({"spectrum": {"type": "power", "dimension": 4, "largest": 2, "exponent": 2}})").eigenvalues ==
        std::vector<double>{0.125, 2.0 / 9, 0.5, 2});
  const std::vector<double> geometric =
      read(R"({"spectrum": {"type": "geometric", "dimension": 3, "smallest": 0.01}})").eigenvalues;
  CHECK(geometric[0] == Approx(0.01));
  CHECK(geometric[1] == Approx(0.1));
  CHECK(read(R"({"spectrum": {"type": "power", "dimension": 1000}})").vectors.rows == 1000);
  CHECK(contains(error_of([&] { read("{}"); }), R"($.matrix: expected either "matrix" or "spectrum")"));
  CHECK(contains(error_of([&] { read(R"({"matrix": [1, 2, 3]})"); }), "square matrix, one after the other, got 3"));
  CHECK(contains(error_of([&] { read(R"({"matrix": [1, 2, 3, 9]})"); }), "$.matrix: expected a symmetric matrix"));
  CHECK(contains(error_of([&] { read(R"({"matrix": [1, 2, 2, 1]})"); }), "one with the eigenvalue -1"));
  CHECK(contains(error_of([&] { read(R"({"spectrum": {"type": "power", "dimension": 1001}})"); }), "dimension"));
}
