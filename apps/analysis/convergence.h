// Figure 3: training error and loss for each parameter update, read from the logs of the runs of a suite.
#pragma once

#include <memory>

#include <noisysgd/apps/analysis/analysed_runs.h>

namespace noisysgd {

// The lines of a run's metrics.jsonl that say something of training steps. Throws Error naming file and line.
std::vector<Json> training_lines(const std::filesystem::path& folder, const std::vector<std::string>& keys);

class Convergence : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input);
  void run(AnalysisOutput& output) override;

 private:
  explicit Convergence(AnalysedRuns runs) : runs_(std::move(runs)) {}

  AnalysedRuns runs_;
  int64_t window_ = 1;  // lines of the log that make one point
  std::vector<double> errors_;
};

// The gradient noise scale in the course of training, from the logs of runs with logging.noise_scale: tr S^2 and
// tr S^2 / |g|^2, with |g|^2 corrected for the variance of the batch's mean gradient by means over many lines.
class NoiseScaleCourse : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input);
  void run(AnalysisOutput& output) override;

 private:
  explicit NoiseScaleCourse(AnalysedRuns runs) : runs_(std::move(runs)) {}

  AnalysedRuns runs_;
  int64_t window_ = 1;
};

}  // namespace noisysgd
