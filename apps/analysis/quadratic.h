// Figure 4: one trajectory of theta <- theta - rate (A theta - C xi) for each noise on a quadratic of two parameters,
// and the expected loss: exact recursion, mean of many runs, stationary value.
#pragma once

#include <memory>
#include <vector>

#include <noisysgd/apps/analysis/analysis.h>
#include <noisysgd/apps/analysis/convex_quadratic.h>

namespace noisysgd {

class Quadratic : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input);
  void run(AnalysisOutput& output) override;

 private:
  explicit Quadratic(Spectrum spectrum) : spectrum_(std::move(spectrum)) {}
  Figure trajectories() const;

  Spectrum spectrum_;
  std::vector<double> start_;
  std::vector<NoiseShape> noises_;
  double rate_ = 0;
  int64_t steps_ = 0, plot_every_ = 0, runs_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace noisysgd
