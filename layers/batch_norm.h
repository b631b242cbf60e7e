// (Ghost) batch normalisation over [N,H,W,C] or [N,C]. In training each group of `ghost_size` consecutive samples is
// normalised by its own statistics; without a ghost size the whole (micro-)batch is one group. A batch smaller than the
// ghost size is one group. Saves x and the group statistics. diag(F): activation x backprop, squares of sum_t dy xhat
// and of sum_t dy per sample.
#pragma once

#include <optional>

#include "layers/layer.h"

namespace noisysgd {

struct BatchNormOptions {
  std::optional<int64_t> ghost_size;
  float epsilon = 1e-5f;
  float momentum = 0.1f;  // weight of the new statistic in the running one, as in PyTorch
};

class BatchNorm : public Layer {
 public:
  BatchNorm(std::string name, const Shape& input, const BatchNormOptions& options);

  std::vector<Parameter*> parameters() override { return {&gamma_, &beta_}; }
  std::vector<Buffer*> buffers() override { return {&running_mean_, &running_variance_}; }
  int64_t ghost_size() const override { return options_.ghost_size.value_or(0); }
  bool couples_samples() const override { return true; }
  int64_t least_batch() const override { return positions_ > 1 ? 1 : 2; }  // one value has no variance
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
  Variable normalise_by_running_statistics(const Forward& pass, Variable x);

  BatchNormOptions options_;
  int64_t channels_, positions_;
  Parameter gamma_, beta_;  // "weight" and "bias", as in PyTorch
  Buffer running_mean_, running_variance_;
};

}  // namespace noisysgd
