// Appendix B: the Ornstein-Uhlenbeck process d theta = -A theta dt + sqrt(rate) C dW on two data sets that differ in
// one sample, and the Hellinger distance of the two distributions of theta(t).
#pragma once

#include <memory>
#include <vector>

#include <noisysgd/apps/analysis/analysis.h>
#include <noisysgd/apps/analysis/convex_quadratic.h>

namespace noisysgd {

struct Gaussian {
  std::vector<double> mean;
  Matrix covariance;
};

// The distribution of theta(t), t > 0, from theta(0) = start: mean exp(-A t) start, and Sigma(t), the solution of
// dSigma/dt = -(A Sigma + Sigma A) + rate C C', Sigma(0) = 0. noise: C C'.
Gaussian process_at(double time, const Spectrum& a, const Matrix& noise, double rate, const std::vector<double>& start);

// H^2 = 1 - det(S)^(1/4) det(S')^(1/4) / det(M)^(1/2) exp(-(m - m')' M^-1 (m - m') / 8), M = (S + S')/2. The
// covariances are positive definite, or Error.
double hellinger_squared(const Gaussian& p, const Gaussian& q);

class Stability : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input);
  void run(AnalysisOutput& output) override;

 private:
  explicit Stability(Spectrum spectrum) : inputs_(std::move(spectrum)) {}

  Spectrum inputs_;  // of the covariance of the inputs
  std::vector<NoiseShape> noises_;
  int64_t samples_ = 0, pairs_ = 0;
  double rate_ = 0, start_ = 0;
  std::vector<double> scale_times_;
  uint64_t seed_ = 0;
};

}  // namespace noisysgd
