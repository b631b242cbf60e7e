// Figure 1: updates of one step of a linear regression with two parameters, by a small batch and by the whole data set
// with isotropic, full-Fisher and diagonal-Fisher noise.
#pragma once

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include <noisysgd/apps/analysis/analysis.h>

namespace noisysgd {

// Loss of sample n: (y_n - x_n' theta)^2 / 2.
struct Regression2d {
  std::vector<std::array<double, 2>> inputs;
  std::vector<double> targets;

  std::array<double, 2> gradient(size_t sample, std::array<double, 2> theta) const;
  std::array<double, 2> mean_gradient(std::array<double, 2> theta) const;
  double loss(std::array<double, 2> theta) const;  // mean over the samples
  Covariance2d hessian() const;                    // (1/N) sum x x'
  // (1/N) sum g g' (Eqn. 4); centred: the covariance of the samples' gradients, divided by N - 1.
  Covariance2d fisher(std::array<double, 2> theta, bool centered) const;
};

enum class OneStepRegime { small_batch, isotropic, full_fisher, diagonal_fisher };

struct OneStepOptions {
  std::array<double, 2> start{};
  double rate = 1;
  int64_t small_batch = 10;
  double sigma = 0.1;     // of isotropic noise
  bool centered = false;  // of the Fisher matrix
};

// Covariance of the update of theta by one step, in closed form: rate^2 times kappa S^2 (exactly, of batches drawn
// without replacement), sigma^2 I, kappa F and kappa diag F; kappa = (N - M) / (N M).
Covariance2d update_covariance(const Regression2d& problem, const OneStepOptions& options, OneStepRegime regime);
// theta after one step, `count` times.
std::vector<std::array<double, 2>> draw_updates(const Regression2d& problem, const OneStepOptions& options,
                                                OneStepRegime regime, int64_t count, uint64_t seed);

class OneStep2d : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input);
  void run(AnalysisOutput& output) override;

 private:
  Regression2d problem_;
  OneStepOptions options_;
  int64_t draws_ = 0, shown_ = 0;
  uint64_t seed_ = 0;
};

}  // namespace noisysgd
