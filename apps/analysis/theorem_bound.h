// Theorem 4.1 beside what it bounds: the expected loss under its step sizes 2 / ((k + gamma) smallest eigenvalue), by
// the exact recursion and by Monte Carlo, and under a constant rate.
#pragma once

#include <memory>
#include <vector>

#include <noisysgd/apps/analysis/analysis.h>
#include <noisysgd/apps/analysis/convex_quadratic.h>

namespace noisysgd {

// gamma = 2 largest / smallest eigenvalue: the rate of step 0 is 1 / largest eigenvalue.
class TheoremSchedule {
 public:
  explicit TheoremSchedule(const Spectrum& spectrum);
  double rate(int64_t k) const { return 2 / ((static_cast<double>(k) + gamma_) * smallest_); }
  double gamma() const { return gamma_; }
  // nu / (k + gamma), nu = max(2 Tr(C'AC) / smallest^2, gamma L(theta_0)).
  double bound(int64_t k, const Spectrum& spectrum, const std::vector<double>& noise, double start_loss) const;
  // lim k E L_k = c^2 / 2 sum lambda q / (2 c lambda - 1), c = 2 / smallest.
  double limit(const Spectrum& spectrum, const std::vector<double>& noise) const;

 private:
  double smallest_, gamma_;
};

class TheoremBound : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input);
  void run(AnalysisOutput& output) override;

 private:
  explicit TheoremBound(Spectrum spectrum) : spectrum_(std::move(spectrum)) {}

  Spectrum spectrum_;
  std::vector<NoiseShape> noises_;
  double start_loss_ = 0, constant_rate_ = 0;
  int64_t steps_ = 0, sampled_runs_ = 0, sampled_steps_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace noisysgd
