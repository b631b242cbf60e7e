// Figure 2: the variance of each regime's gradient, noise included, over its mini-batches at one place: a frozen,
// partly trained network. Averaged over the parameters of each layer, with closed forms beside the samples.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include <noisysgd/apps/analysis/analysed_runs.h>

namespace noisysgd {

// Mean and unbiased variance of each element over vectors that come one by one (Welford).
class RunningVariance {
 public:
  explicit RunningVariance(size_t elements) : mean_(elements), squares_(elements) {}
  void add(std::span<const float> values);
  int64_t count() const { return count_; }
  double mean(size_t i) const { return mean_[i]; }
  double variance(size_t i) const { return squares_[i] / static_cast<double>(count_ - 1); }

 private:
  int64_t count_ = 0;
  std::vector<double> mean_, squares_;  // squares_: sums of squared deviations
};

// The mean over each layer's parameters of values that are laid out as a Block, in the order of layer_names.
std::vector<double> layer_means(const std::vector<Parameter*>& parameters, const std::vector<double>& values);

class GradientVariance : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input);
  void run(AnalysisOutput& output) override;

 private:
  explicit GradientVariance(AnalysedRuns runs) : runs_(std::move(runs)) {}
  // The regimes to measure and the seed of the network: the first seed that "only" selects, with all its regimes.
  std::pair<std::vector<Regime>, uint64_t> selected() const;
  // Throws Error, before anything is trained, for regimes that cannot be measured on the network of `trained`.
  void check(const std::vector<Regime>& regimes, const Regime& trained);

  AnalysedRuns runs_;
  std::string frozen_;  // the regime that trains the network; empty: the first
  int64_t batches_ = 0;
};

}  // namespace noisysgd
