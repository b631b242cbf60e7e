// The optimizer: SGD with momentum, weight decay and structured gradient noise, as one fused pass over the parameters.
#pragma once

#include <optional>

#include "core/config.h"
#include "layers/model.h"
#include "optim/noise/noise.h"

namespace noisysgd {

struct SgdOptions {
  double learning_rate = 0.1;
  double momentum = 0.9;
  double weight_decay = 0;
  bool nesterov = false;
  std::optional<double> clip_norm = {};  // the mean gradient is scaled down to this norm before noise is added
};

SgdOptions read_sgd(const ConfigReader& json);

struct SgdStep {
  Number<float> learning_rate = 0;  // after the schedule
  int64_t batch = 0;                // samples in the sums
  uint64_t seed = 0;
  StepNumber step = 0;
  bool noise = true;               // false: this step draws none
  bool noise_in_gradient = false;  // NoisePasses::in_gradient of its passes
  Number<uint32_t> halted = 0;     // unless it is 0, the parameters stay as they are
};

class Sgd {
 public:
  Sgd(Context& context, const SgdOptions& options, const FisherOptions& fisher, const Noise& noise)
      : context_(context), options_(options), fisher_(fisher), noise_(noise) {}

  // Allocates the sums that the noise needs.
  void require_sums(ParameterArena& arena) const {
    noise_.require_sums(arena);
    if (noise_.averages(fisher_)) arena.require_fisher_average();
  }

  // What the forward and backward passes of a step with noise do for it; those of a step without do nothing.
  // keep_gradient: the gradient sums must stay those of unweighted samples, as draw_noise expects them; clipping does
  // too, which is of the gradient alone.
  NoisePasses passes(const NoiseBatch& batch, bool keep_gradient = false) const {
    return noise_.passes(context_, fisher_, batch, keeps_gradient(keep_gradient));
  }
  // What they collect, and whether they leave the noise in the gradient sums.
  Statistics statistics(const NoiseBatch& batch, bool keep_gradient = false) const {
    return noise_.statistics(fisher_, batch, keeps_gradient(keep_gradient));
  }
  bool weighs_losses(const NoiseBatch& batch, bool keep_gradient = false) const {
    return noise_.weighs_losses(fisher_, batch, keeps_gradient(keep_gradient));
  }

  // Uses up the parameters' sums (they are not cleared). Norms of the mean gradient, before clipping, and of the noise
  // are added to *norms on the device, if asked for.
  void step(const std::vector<Parameter*>& parameters, const SgdStep& step, kernels::SgdNorms* norms = nullptr);

  // noise[i] of parameters[i]: what `step` would add to the mean gradient. Nothing is updated.
  std::vector<Tensor> draw_noise(const std::vector<Parameter*>& parameters, const SgdStep& step);

 private:
  bool keeps_gradient(bool wanted) const { return wanted || options_.clip_norm; }
  // vectors: what the segments point at.
  std::vector<kernels::SgdSegment> segments(const std::vector<Parameter*>& parameters, const SgdStep& step,
                                            std::vector<Tensor>& vectors) const;
  kernels::SgdHyperparameters hyperparameters(const SgdStep& step) const;
  // [1] f64: what clipping multiplies the mean gradient by.
  Tensor clip_factor(const std::vector<Parameter*>& parameters, const SgdStep& step) const;

  Context& context_;
  SgdOptions options_;
  FisherOptions fisher_;
  Noise noise_;
};

}  // namespace noisysgd
