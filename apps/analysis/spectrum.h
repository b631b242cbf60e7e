// The spectrum of a symmetric matrix that is known by its products with vectors alone, such as a network's Hessian.
// Products may be rounded to single precision; all dot products of the methods are in double.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace noisysgd {

struct SymmetricOperator {
  int64_t dimension = 0;
  std::function<void(std::span<const double> x, std::span<double> product)> multiply;
};

struct Eigenvalue {
  double value = 0;
  double residual = 0;  // |A v - value v| for the unit vector v that was found: an eigenvalue of A is as near as that
};

struct LanczosOptions {
  int64_t starts = 2;        // random start vectors; each finds both ends anew
  int64_t subspace = 20;     // vectors that are kept
  int64_t restarts = 100;    // at most, for each end and start
  double tolerance = 1e-3;   // of a residual, relative to the width of the spectrum
  uint64_t seed = 1;
};

struct ExtremeEigenvalues {
  Eigenvalue largest, smallest;
  // Between the start vectors: one that has found another end of the spectrum shows here.
  double largest_difference = 0, smallest_difference = 0;
  bool converged = true;  // every start within the tolerance
  int64_t products = 0;
};

// By Lanczos with full reorthogonalisation, and the implicitly restarted method (Spectra) where one subspace is not
// enough.
ExtremeEigenvalues extreme_eigenvalues(const SymmetricOperator& a, const LanczosOptions& options = {});

// The density of the eigenvalues as nodes and weights that sum to 1. Stochastic Lanczos quadrature (Ubaru, Chen and
// Saad 2017): the measure that a random direction sees, by `steps` of Lanczos with full reorthogonalisation, averaged over
// `probes` directions. Its moments below 2 steps are v'A^k v averaged over the directions v.
struct SpectralDensity {
  std::vector<double> nodes, weights;

  double moment(int k) const;  // tr A^k / dimension, but for the choice of directions
  // At x, with each node a normal density of this standard deviation.
  double at(double x, double deviation) const;
};
struct DensityOptions {
  int64_t probes = 4, steps = 80;
  uint64_t seed = 1;
};
SpectralDensity spectral_density(const SymmetricOperator& a, const DensityOptions& options = {});

}  // namespace noisysgd
