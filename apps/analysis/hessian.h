// Figure 5b: the largest eigenvalue of the Hessian of the training loss at the end of training, of networks that are
// made comparable (Section 5.3): batch normalisation folded into the weights, scores divided by a fitted temperature.
#pragma once

#include <memory>

#include <noisysgd/apps/analysis/analysed_runs.h>
#include <noisysgd/apps/analysis/spectrum.h>
#include <noisysgd/layers/curvature_product.h>

namespace noisysgd {

// The mean of a curvature matrix over a batch of images as an operator on vectors of all parameters, parameter after
// parameter. The model must outlive it, and the batch is kept.
SymmetricOperator mean_curvature(Model& model, const Batch& batch, const CurvatureOptions& options);

class HessianSpectrum : public Analysis {
 public:
  static std::unique_ptr<Analysis> read(const AnalysisInput& input);
  void run(AnalysisOutput& output) override;

 private:
  explicit HessianSpectrum(AnalysedRuns runs) : runs_(std::move(runs)) {}
  struct Ends;
  Ends measure(const SuiteRun& run, AnalysisOutput& output);

  AnalysedRuns runs_;
  CurvatureMatrix matrix_ = CurvatureMatrix::hessian;
  int64_t samples_ = 0, pass_ = 0;
  bool folds_ = true;
  enum class Temperature { test, train, none } temperature_ = Temperature::test;
  LanczosOptions lanczos_;
  DensityOptions density_;
};

}  // namespace noisysgd
