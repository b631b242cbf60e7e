// The convex quadratic L(theta) = theta' A theta / 2 of Section 4 and Appendix B, with A symmetric and positive
// definite, and the noise covariances C C' that the paper compares on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <noisysgd/core/config.h>

namespace noisysgd {

struct Matrix {  // row-major
  Matrix(int64_t row_count, int64_t column_count)
      : rows(row_count), columns(column_count), values(static_cast<size_t>(row_count * column_count)) {}
  double& operator()(int64_t i, int64_t j) { return values[static_cast<size_t>(i * columns + j)]; }
  double operator()(int64_t i, int64_t j) const { return values[static_cast<size_t>(i * columns + j)]; }

  int64_t rows, columns;
  std::vector<double> values;
};

Matrix operator*(const Matrix& a, const Matrix& b);
Matrix transposed(const Matrix& a);
double trace(const Matrix& a);

// A = P diag(eigenvalues) P', eigenvalues ascending; the columns of P are the eigenvectors.
struct Spectrum {
  std::vector<double> eigenvalues;
  Matrix vectors;
};
Spectrum spectrum_of(const Matrix& symmetric);
Matrix matrix_of(const Spectrum& spectrum);
// An orthogonal matrix, uniform over all of them.
Matrix random_rotation(int64_t dimension, uint64_t seed);

// C C' of one covariance structure.
enum class NoiseShape {
  full,       // A, the Fisher matrix of this problem
  diagonal,   // diag(A)
  isotropic,  // (tr A / d) I: the same trace as the two before
  identity,   // I, of Appendix B
};
std::string name_of(NoiseShape shape);  // "full Fisher"
Matrix noise_covariance(const Matrix& a, NoiseShape shape);
// q_i = (P' C C' P)_ii: the variance of the noise along each eigenvector of A.
std::vector<double> noise_along_eigenvectors(const Spectrum& spectrum, NoiseShape shape);
// C with C C' = `covariance`, which is positive semidefinite: the symmetric root.
Matrix symmetric_root(const Matrix& covariance);

// "noises": a list of "full", "diagonal", "isotropic" and "identity" without repetition.
std::vector<NoiseShape> read_noises(const ConfigReader& json, const std::vector<std::string>& default_value);

// A problem of a configuration: "matrix", the rows of A one after the other, or "spectrum" in a random basis:
//   {"type": "list", "eigenvalues": [9.5, 0.5]}
//   {"type": "power", "dimension": 100, "largest": 1, "exponent": 1}: largest / i^exponent, i = 1..dimension
//   {"type": "geometric", "dimension": 100, "largest": 1, "smallest": 0.01}
// Problems of the configuration are noted in the reader; some valid A is returned then. At most 1000 dimensions.
Spectrum read_quadratic(const ConfigReader& json, uint64_t seed);
inline constexpr int64_t most_dimensions = 1000;

// The expected loss and its exact recursion. In the eigenbasis, S_i = E[(P' theta)_i^2]:
//   S <- (1 - rate eigenvalue)^2 S + rate^2 q,  E L = sum eigenvalue S / 2
class ExpectedLoss {
 public:
  // start: theta_0 in the original basis.
  ExpectedLoss(const Spectrum& spectrum, std::vector<double> noise, const std::vector<double>& start);
  double value() const;
  void step(double rate);

 private:
  std::vector<double> eigenvalues_, noise_, second_moments_;
};

// lim E L at a constant rate below 2 / largest eigenvalue: sum rate q_i / (2 - rate eigenvalue_i) / 2.
double stationary_loss(const Spectrum& spectrum, const std::vector<double>& noise, double rate);

// Mean and standard error of the loss over runs of theta <- theta - rate (A theta - C xi), in the original basis.
struct SampledLoss {
  std::vector<double> mean, standard_error;  // at each of `record`
};
struct SampledRuns {
  int64_t runs = 100;
  std::vector<double> rates;    // of every step; their number is that of the steps
  std::vector<int64_t> record;  // after so many steps, ascending; 0: the start
  uint64_t seed = 1;
  uint32_t stream = 0;
};
SampledLoss sample_loss(const Matrix& a, const Matrix& noise_root, const std::vector<double>& start,
                        const SampledRuns& sampling);

}  // namespace noisysgd
