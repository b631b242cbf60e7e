#include <noisysgd/apps/analysis/spectrum.h>

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Spectra/SymEigsSolver.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include <noisysgd/apps/analysis/normals.h>
#include <noisysgd/kernels/check.h>

namespace noisysgd {

namespace {

using Vector = Eigen::VectorXd;

// Streams of random numbers.
constexpr uint32_t start_stream = 200, probe_stream = 300;

Vector random_direction(int64_t dimension, uint64_t seed, uint32_t stream) {
  Normals normals(seed, stream);
  Vector v(dimension);
  for (double& x : v) x = normals.next();
  return v / v.norm();
}

Vector product(const SymmetricOperator& a, const Vector& x) {
  Vector y(a.dimension);
  a.multiply({x.data(), static_cast<size_t>(x.size())}, {y.data(), static_cast<size_t>(y.size())});
  NSGD_CHECK(y.allFinite(), "a product with the matrix is not finite");
  return y;
}

// An orthonormal basis V of the Krylov space of `start`, a unit vector, and V'A V, which is tridiagonal.
struct Krylov {
  std::vector<Vector> basis;
  std::vector<double> diagonal, beside;
  bool invariant = false;  // the space holds all that A makes of the start: every eigenvalue, once

  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solved() const {
    Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver;
    solver.computeFromTridiagonal(
        Eigen::Map<const Vector>(diagonal.data(), static_cast<Eigen::Index>(diagonal.size())),
        Eigen::Map<const Vector>(beside.data(), static_cast<Eigen::Index>(diagonal.size()) - 1));
    return solver;
  }
};

Krylov lanczos(const SymmetricOperator& a, const Vector& start, int64_t steps) {
  Krylov result;
  std::vector<Vector>& basis = result.basis;
  basis.push_back(start);
  double largest = 0;
  while (true) {
    Vector next = product(a, basis.back());
    result.diagonal.push_back(basis.back().dot(next));
    for (int again = 0; again < 2; ++again)  // twice is enough (Parlett)
      for (const Vector& v : basis) next -= v.dot(next) * v;
    const double norm = next.norm();
    largest = std::max({largest, std::abs(result.diagonal.back()), norm});
    const auto size = static_cast<int64_t>(basis.size());
    result.invariant = norm <= 1e-12 * largest || size == a.dimension;
    if (result.invariant || size == steps) return result;
    result.beside.push_back(norm);
    basis.push_back(next / norm);
  }
}

// What Spectra multiplies by: A - shift I.
class Shifted {
 public:
  using Scalar = double;

  Shifted(const SymmetricOperator& a, double shift, int64_t& products) : a_(a), shift_(shift), products_(products) {}
  Eigen::Index rows() const { return a_.dimension; }
  Eigen::Index cols() const { return a_.dimension; }
  void perform_op(const double* x, double* y) const {
    const Eigen::Map<const Vector> in(x, a_.dimension);
    Eigen::Map<Vector>(y, a_.dimension) = product(a_, in) - shift_ * in;
    ++products_;
  }

 private:
  const SymmetricOperator& a_;
  double shift_;
  int64_t& products_;
};

// The Rayleigh quotient of a vector and what it leaves.
Eigenvalue quotient(const SymmetricOperator& a, const Vector& vector, int64_t& products) {
  const Vector image = product(a, vector);
  ++products;
  const double norm = vector.squaredNorm(), value = vector.dot(image) / norm;
  return {value, (image - value * vector).norm() / std::sqrt(norm)};
}

// One end of the spectrum as a first Krylov space has it, made better by restarts until its residual is within the
// tolerance, relative to the distance from the other end. Spectra measures it relative to the eigenvalue: it gets A
// less that other end.
Eigenvalue find_end(const SymmetricOperator& a, bool largest, const Krylov& first, const LanczosOptions& options,
                    ExtremeEigenvalues& found) {
  const auto solved = first.solved();
  const Eigen::Index last = solved.eigenvalues().size() - 1, own = largest ? last : 0;
  const double other_end = solved.eigenvalues()[last - own];
  Vector vector = Vector::Zero(a.dimension);
  for (Eigen::Index i = 0; i <= last; ++i)
    vector += solved.eigenvectors()(i, own) * first.basis[static_cast<size_t>(i)];
  Eigenvalue end = quotient(a, vector, found.products);
  const auto within = [&] { return end.residual <= options.tolerance * std::abs(end.value - other_end); };
  if (first.invariant || within()) return end;
  Shifted shifted(a, other_end, found.products);
  Spectra::SymEigsSolver<Shifted> solver(shifted, 1, std::min(options.subspace, a.dimension));
  solver.init(vector.data());
  const auto rule = largest ? Spectra::SortRule::LargestAlge : Spectra::SortRule::SmallestAlge;
  if (solver.compute(rule, options.restarts, options.tolerance, rule) == 1)
    end = quotient(a, solver.eigenvectors(1).col(0), found.products);
  found.converged = found.converged && within();
  return end;
}

}  // namespace

ExtremeEigenvalues extreme_eigenvalues(const SymmetricOperator& a, const LanczosOptions& options) {
  NSGD_CHECK(a.dimension > 0 && options.starts > 0 && options.subspace > 1, "nothing to find the eigenvalues of");
  ExtremeEigenvalues result;
  std::vector<Eigenvalue> largest, smallest;
  for (int64_t i = 0; i < options.starts; ++i) {
    const Vector start = random_direction(a.dimension, options.seed, start_stream + static_cast<uint32_t>(i));
    const Krylov first = lanczos(a, start, options.subspace);
    result.products += static_cast<int64_t>(first.basis.size());
    largest.push_back(find_end(a, true, first, options, result));
    smallest.push_back(find_end(a, false, first, options, result));
  }
  const auto less = [](const Eigenvalue& x, const Eigenvalue& y) { return x.value < y.value; };
  const auto [least_top, most_top] = std::minmax_element(largest.begin(), largest.end(), less);
  const auto [least_bottom, most_bottom] = std::minmax_element(smallest.begin(), smallest.end(), less);
  result.largest = *most_top;
  result.smallest = *least_bottom;
  result.largest_difference = most_top->value - least_top->value;
  result.smallest_difference = most_bottom->value - least_bottom->value;
  return result;
}

SpectralDensity spectral_density(const SymmetricOperator& a, const DensityOptions& options) {
  NSGD_CHECK(a.dimension > 0 && options.probes > 0 && options.steps > 0, "no density without probes and steps");
  SpectralDensity density;
  for (int64_t i = 0; i < options.probes; ++i) {
    const Vector probe = random_direction(a.dimension, options.seed, probe_stream + static_cast<uint32_t>(i));
    const auto solved = lanczos(a, probe, options.steps).solved();
    for (Eigen::Index k = 0; k < solved.eigenvalues().size(); ++k) {
      const double first = solved.eigenvectors()(0, k);
      density.nodes.push_back(solved.eigenvalues()[k]);
      density.weights.push_back(first * first / static_cast<double>(options.probes));
    }
  }
  return density;
}

double SpectralDensity::moment(int k) const {
  double sum = 0;
  for (size_t i = 0; i < nodes.size(); ++i) sum += weights[i] * std::pow(nodes[i], k);
  return sum;
}

double SpectralDensity::at(double x, double deviation) const {
  double sum = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const double z = (x - nodes[i]) / deviation;
    sum += weights[i] * std::exp(-z * z / 2);
  }
  return sum / (deviation * std::sqrt(2 * std::numbers::pi));
}

}  // namespace noisysgd
