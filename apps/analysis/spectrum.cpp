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
constexpr uint32_t start_stream = 200, probe_stream = 300, width_stream = 400;

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

// V'A V of an orthonormal basis of the Krylov space of `start`, a unit vector: tridiagonal.
struct Tridiagonal {
  std::vector<double> diagonal, beside;

  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solved() const {
    Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver;
    solver.computeFromTridiagonal(
        Eigen::Map<const Vector>(diagonal.data(), static_cast<Eigen::Index>(diagonal.size())),
        Eigen::Map<const Vector>(beside.data(), static_cast<Eigen::Index>(diagonal.size()) - 1));
    return solver;
  }
};

Tridiagonal lanczos(const SymmetricOperator& a, const Vector& start, int64_t steps) {
  Tridiagonal result;
  std::vector<Vector> basis{start};
  double largest = 0;
  while (true) {
    Vector next = product(a, basis.back());
    result.diagonal.push_back(basis.back().dot(next));
    for (int again = 0; again < 2; ++again)  // twice is enough (Parlett)
      for (const Vector& v : basis) next -= v.dot(next) * v;
    const double norm = next.norm();
    largest = std::max({largest, std::abs(result.diagonal.back()), norm});
    const bool invariant = norm <= 1e-12 * largest;  // the space holds all that A makes of the start
    if (invariant || static_cast<int64_t>(basis.size()) == std::min(steps, a.dimension)) return result;
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

struct Found {
  Eigenvalue eigenvalue;
  bool converged = false;
};

// One end of the spectrum. shift: a value near the other end, so that what is found is as large as the spectrum is wide,
// and the tolerance means the same at both ends.
Found find_end(const SymmetricOperator& a, bool largest, double shift, const Vector& start,
               const LanczosOptions& options, int64_t& products) {
  Vector vector;
  bool converged = true;
  if (a.dimension == 1) {
    vector = start;
  } else {
    Shifted shifted(a, shift, products);
    Spectra::SymEigsSolver<Shifted> solver(shifted, 1, std::min(options.subspace, a.dimension));
    solver.init(start.data());
    const auto rule = largest ? Spectra::SortRule::LargestAlge : Spectra::SortRule::SmallestAlge;
    converged = solver.compute(rule, options.restarts, options.tolerance, rule) == 1;
    if (converged) vector = solver.eigenvectors(1).col(0);
  }
  if (!converged) return {{NAN, NAN}, false};
  const Vector image = product(a, vector);
  ++products;
  const double norm = vector.squaredNorm(), value = vector.dot(image) / norm;
  return {{value, (image - value * vector).norm() / std::sqrt(norm)}, true};
}

}  // namespace

ExtremeEigenvalues extreme_eigenvalues(const SymmetricOperator& a, const LanczosOptions& options) {
  NSGD_CHECK(a.dimension > 0 && options.starts > 0 && options.subspace > 1, "nothing to find the eigenvalues of");
  ExtremeEigenvalues result;
  // Where the ends are, roughly.
  const Tridiagonal rough = lanczos(a, random_direction(a.dimension, options.seed, width_stream), 10);
  result.products = static_cast<int64_t>(rough.diagonal.size());
  const Vector ritz = rough.solved().eigenvalues();
  const double low = ritz.minCoeff(), high = ritz.maxCoeff();

  std::vector<Eigenvalue> largest, smallest;
  for (int64_t i = 0; i < options.starts; ++i) {
    const Vector start = random_direction(a.dimension, options.seed, start_stream + static_cast<uint32_t>(i));
    const Found top = find_end(a, true, low, start, options, result.products);
    const Found bottom = find_end(a, false, high, start, options, result.products);
    result.converged = result.converged && top.converged && bottom.converged;
    if (top.converged) largest.push_back(top.eigenvalue);
    if (bottom.converged) smallest.push_back(bottom.eigenvalue);
  }
  const auto less = [](const Eigenvalue& x, const Eigenvalue& y) { return x.value < y.value; };
  const auto combine = [&](const std::vector<Eigenvalue>& found, bool take_largest, double& difference) {
    if (found.empty()) return Eigenvalue{NAN, NAN};
    const auto [least, most] = std::minmax_element(found.begin(), found.end(), less);
    difference = most->value - least->value;
    return take_largest ? *most : *least;
  };
  result.largest = combine(largest, true, result.largest_difference);
  result.smallest = combine(smallest, false, result.smallest_difference);
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
