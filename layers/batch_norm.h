// (Ghost) batch normalisation over [N,H,W,C] or [N,C]. In training each group of `ghost_size` consecutive samples is
// normalised by its own statistics; without a ghost size the whole (micro-)batch is one group. A batch smaller than the
// ghost size is one group. Saves x and the group statistics. diag(F): activation x backprop, squares of sum_t dy xhat
// and of sum_t dy per sample. Tells the layer before it how it normalised (core/autograd.h). A ReLU behind it, and the
// sum of a residual block that it ends, are done in its own sweep. Backward computes the sign of the output again; only
// of a sum behind which a ReLU stands, whose other addend is not at hand then, the output is saved.
#pragma once

#include <optional>

#include "kernels/batch_norm.h"
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
  SampleCoupling coupling() const override;
  bool absorb_relu() override { return relu_ = true; }
  // The layer's output plus addend, through the ReLU if it took one over: as forward, of which this is the general
  // form.
  Variable forward_sum(const Forward& pass, Variable x, Variable addend);
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override { return forward_sum(pass, std::move(x), {}); }
  struct Saved;
  kernels::BatchNormTail tail(const Variable& addend) const;
  void backward(BackwardPass& pass, const Saved& saved, Tensor grad_y);
  void add_signed_sums(BackwardPass& pass, const kernels::BatchNormShape& shape, const Tensor& x, const Tensor& mean,
                       const Tensor& inverse_std, const Tensor& grad_y);
  Variable normalise_by_running_statistics(const Forward& pass, Variable x, Variable addend);

  BatchNormOptions options_;
  int64_t channels_, positions_;
  bool relu_ = false;
  Parameter gamma_, beta_;  // "weight" and "bias", as in PyTorch
  Buffer running_mean_, running_variance_;
};

}  // namespace noisysgd
