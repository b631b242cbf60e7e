// Extreme eigenvalues and densities against spectra that are known and against dense decompositions.
#include <noisysgd/apps/analysis/spectrum.h>

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>

#include <algorithm>
#include <numeric>

#include "tests/catch.h"
#include "tests/random_tensor.h"

using namespace noisysgd;

namespace {

Eigen::MatrixXd random_matrix(int64_t rows, uint32_t stream) {
  const std::vector<float> values = test::random_tensor(rows * rows, stream);
  return Eigen::Map<const Eigen::MatrixXf>(values.data(), rows, rows).cast<double>();
}

SymmetricOperator operator_of(const Eigen::MatrixXd& a) {
  return {a.rows(), [&a](std::span<const double> x, std::span<double> product) {
            Eigen::Map<Eigen::VectorXd>(product.data(), a.rows()) =
                a * Eigen::Map<const Eigen::VectorXd>(x.data(), a.rows());
          }};
}

// Q diag(eigenvalues) Q' in a random basis.
Eigen::MatrixXd with_spectrum(const std::vector<double>& eigenvalues) {
  const auto n = static_cast<int64_t>(eigenvalues.size());
  const Eigen::MatrixXd q = Eigen::HouseholderQR<Eigen::MatrixXd>(random_matrix(n, 3)).householderQ();
  return q * Eigen::Map<const Eigen::VectorXd>(eigenvalues.data(), n).asDiagonal() * q.transpose();
}

}  // namespace

TEST_CASE("both ends of a spectrum are those of a dense decomposition") {
  const int64_t dimension = GENERATE(1, 2, 3, 25, 120);
  const Eigen::MatrixXd half = random_matrix(dimension, 1), a = half + half.transpose();
  const Eigen::VectorXd expected = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(a).eigenvalues();
  const double width = expected.maxCoeff() - expected.minCoeff() + 1e-12;
  const ExtremeEigenvalues found = extreme_eigenvalues(operator_of(a), {.tolerance = 1e-5});
  CHECK(found.converged);
  CAPTURE(dimension);
  // The error of a Rayleigh quotient is of the order of its residual squared.
  CHECK(std::abs(found.largest.value - expected.maxCoeff()) <= 1e-8 * width);
  CHECK(std::abs(found.smallest.value - expected.minCoeff()) <= 1e-8 * width);
  CHECK(found.largest.residual <= 1e-5 * width);
  CHECK(found.smallest.residual <= 1e-5 * width);
  CHECK(found.largest_difference <= 1e-8 * width);
  CHECK(found.smallest_difference <= 1e-8 * width);
  CHECK(found.products >= 2 * 2);
}

TEST_CASE("the residual bounds the distance to an eigenvalue") {
  const Eigen::MatrixXd half = random_matrix(80, 5), a = half + half.transpose();
  const Eigen::VectorXd expected = Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(a).eigenvalues();
  const ExtremeEigenvalues found = extreme_eigenvalues(operator_of(a), {.subspace = 6, .tolerance = 0.05});
  for (const Eigenvalue& end : {found.largest, found.smallest}) {
    const double distance = (expected.array() - end.value).abs().minCoeff();
    CHECK(distance <= end.residual * (1 + 1e-9));
    CHECK(end.residual > 1e-6);  // a bound of something
  }
}

TEST_CASE("eigenvalues of either sign, close to zero and repeated are found with one tolerance") {
  const auto [eigenvalues] = GENERATE(table<std::vector<double>>({
      {{0, 0, 0, 1, 2, 3, 3, 3}},           // singular, the largest repeated
      {{-5, -4, -3, -2, -1, -0.5, -0.25}},  // no positive one
      {{-1e-6, 0, 1e-6, 2e-6, 1e4}},        // ends of very different size
      {{7, 7, 7, 7}},
      {{0, 0, 0, 0, 0}},
  }));
  CAPTURE(eigenvalues);
  const Eigen::MatrixXd a = with_spectrum(eigenvalues);
  const auto [least, most] = std::minmax_element(eigenvalues.begin(), eigenvalues.end());
  const double scale = 1e-9 * std::max({std::abs(*least), std::abs(*most), 1.0});
  const ExtremeEigenvalues found = extreme_eigenvalues(operator_of(a));
  CHECK(found.converged);
  CHECK(std::abs(found.largest.value - *most) <= scale);
  CHECK(std::abs(found.smallest.value - *least) <= scale);
}

TEST_CASE("matrices of few different eigenvalues in many dimensions are no trouble") {
  std::vector<double> eigenvalues(300);
  const int kind = GENERATE(0, 1, 2);
  if (kind == 1) eigenvalues[7] = 5, eigenvalues[9] = 2;  // of rank 2, as a Fisher matrix of two samples
  if (kind == 2) std::fill(eigenvalues.begin(), eigenvalues.end(), -3.0);
  CAPTURE(kind);
  const Eigen::MatrixXd a = with_spectrum(eigenvalues);
  const ExtremeEigenvalues found = extreme_eigenvalues(operator_of(a));
  CHECK(found.converged);
  CHECK(found.largest.value == Approx(kind == 0 ? 0 : kind == 1 ? 5 : -3).margin(1e-9));
  CHECK(found.smallest.value == Approx(kind == 2 ? -3 : 0).margin(1e-9));
}

TEST_CASE("a search that does not end within its restarts says so") {
  std::vector<double> eigenvalues(200);
  std::iota(eigenvalues.begin(), eigenvalues.end(), 1.0);
  const Eigen::MatrixXd a = with_spectrum(eigenvalues);
  const ExtremeEigenvalues found =
      extreme_eigenvalues(operator_of(a), {.subspace = 3, .restarts = 1, .tolerance = 1e-12});
  CHECK(!found.converged);
}

TEST_CASE("products in single precision still give the ends") {
  std::vector<double> eigenvalues(100);
  for (size_t i = 0; i < eigenvalues.size(); ++i) eigenvalues[i] = std::pow(0.8, i) * (i % 5 == 4 ? -2 : 10);
  const Eigen::MatrixXf a = with_spectrum(eigenvalues).cast<float>();
  const SymmetricOperator rounded{a.rows(), [&](std::span<const double> x, std::span<double> product) {
                                    const Eigen::VectorXf in =
                                        Eigen::Map<const Eigen::VectorXd>(x.data(), a.rows()).cast<float>();
                                    Eigen::Map<Eigen::VectorXd>(product.data(), a.rows()) = (a * in).cast<double>();
                                  }};
  const ExtremeEigenvalues found = extreme_eigenvalues(rounded);
  CHECK(found.converged);
  CHECK(found.largest.value == Approx(10).epsilon(1e-5));
  CHECK(found.smallest.value == Approx(-2 * std::pow(0.8, 4)).epsilon(1e-5));
  CHECK(found.smallest.residual < 1e-2);
}

TEST_CASE("the moments of a density are those of the matrix in the probes' directions") {
  const Eigen::MatrixXd half = random_matrix(60, 9), a = (half + half.transpose()) / 8;
  std::vector<Eigen::VectorXd> probes;
  const SymmetricOperator watched{60, [&](std::span<const double> x, std::span<double> product) {
                                    const Eigen::Map<const Eigen::VectorXd> in(x.data(), 60);
                                    if (probes.size() % 8 == 0) probes.push_back(in);  // the first of each eight
                                    else probes.push_back({});
                                    Eigen::Map<Eigen::VectorXd>(product.data(), 60) = a * in;
                                  }};
  const SpectralDensity density = spectral_density(watched, {.probes = 3, .steps = 8});
  REQUIRE(probes.size() == 24);
  for (int k = 0; k < 16; ++k) {  // 2 * 8 - 1 is the highest that is exact
    double expected = 0;
    for (size_t i = 0; i < probes.size(); i += 8) {
      Eigen::VectorXd image = probes[i];
      for (int power = 0; power < k; ++power) image = a * image;
      expected += probes[i].dot(image) / 3;
    }
    CAPTURE(k);
    CHECK(density.moment(k) == Approx(expected).epsilon(1e-9).margin(1e-12));
  }
}

TEST_CASE("as many steps as dimensions give every eigenvalue") {
  std::vector<double> eigenvalues{-3, -1, 0, 0.5, 2, 7};
  const Eigen::MatrixXd a = with_spectrum(eigenvalues);
  const SpectralDensity density = spectral_density(operator_of(a), {.probes = 1, .steps = 50});
  std::vector<double> nodes = density.nodes;
  std::sort(nodes.begin(), nodes.end());
  REQUIRE(nodes.size() == eigenvalues.size());
  for (size_t i = 0; i < nodes.size(); ++i) CHECK(nodes[i] == Approx(eigenvalues[i]).margin(1e-9));
}

TEST_CASE("the density of a large matrix integrates to the shares of its eigenvalues") {
  // 9 of 10 eigenvalues lie in [0, 1], 1 of 10 in [5, 6].
  std::vector<double> eigenvalues;
  for (int i = 0; i < 500; ++i) eigenvalues.push_back(i % 10 == 0 ? 5 + i / 500.0 : i / 500.0);
  const Eigen::VectorXd diagonal = Eigen::Map<Eigen::VectorXd>(eigenvalues.data(), 500);
  const SymmetricOperator a{500, [&](std::span<const double> x, std::span<double> product) {
                              Eigen::Map<Eigen::VectorXd>(product.data(), 500) =
                                  diagonal.cwiseProduct(Eigen::Map<const Eigen::VectorXd>(x.data(), 500));
                            }};
  const SpectralDensity density = spectral_density(a, {.probes = 20, .steps = 60});
  double all = 0, above = 0;
  for (double x = -1; x < 8; x += 0.01) {
    all += 0.01 * density.at(x, 0.05);
    if (x > 3) above += 0.01 * density.at(x, 0.05);
  }
  CHECK(all == Approx(1).epsilon(1e-3));
  // Of one probe, the share is that of squares of normals: standard deviation sqrt(2 * 0.1 * 0.9 / 500) = 0.019.
  CHECK(std::abs(above - 0.1) <= 4 * 0.019 / std::sqrt(20.0));
}
