// Figure 5a: the Frobenius norms of the Fisher matrix and of its diagonal in the course of training.
#pragma once

#include <memory>

#include <noisysgd/apps/analysis/analysed_runs.h>

namespace noisysgd {

class Frobenius : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input);
  void run(AnalysisOutput& output) override;

 private:
  explicit Frobenius(AnalysedRuns runs) : runs_(std::move(runs)) {}
  struct Course;
  void measure(const SuiteRun& run, Course& course, AnalysisOutput& output);

  AnalysedRuns runs_;
  int64_t samples_ = 0, draws_ = 0;
};

}  // namespace noisysgd
