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
  double learning_rate = 0;  // after the schedule
  int64_t batch = 0;         // samples in the sums
  uint64_t seed = 0;
  uint32_t step = 0;
  bool noise = true;  // false: this step draws none
};

class Sgd {
 public:
  Sgd(Context& context, const SgdOptions& options, const FisherOptions& fisher, const Noise& noise)
      : context_(context), options_(options), fisher_(fisher), noise_(noise) {}

  // What the backward passes of a step must collect.
  Statistics statistics(bool with_noise) const {
    return {with_noise && noise_.needs_second_moment() ? fisher_.conv : SecondMoment::none};
  }

  // Uses up the parameters' sums (they are not cleared). Norms of the mean gradient, before clipping, and of the noise
  // if asked for.
  void step(const std::vector<Parameter*>& parameters, const SgdStep& step, kernels::SgdNorms* norms = nullptr);

  // noise[i] of parameters[i]: what `step` would add to the mean gradient. Nothing is updated.
  std::vector<Tensor> draw_noise(const std::vector<Parameter*>& parameters, const SgdStep& step);

 private:
  std::vector<kernels::SgdSegment> segments(const std::vector<Parameter*>& parameters, const SgdStep& step) const;
  kernels::SgdHyperparameters hyperparameters(const SgdStep& step) const;
  // What clipping multiplies the mean gradient by.
  double clip_factor(const std::vector<Parameter*>& parameters, const SgdStep& step) const;

  Context& context_;
  SgdOptions options_;
  const FisherOptions& fisher_;
  const Noise& noise_;
};

}  // namespace noisysgd
