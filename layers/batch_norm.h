// (Ghost) batch normalisation over [N,H,W,C] or [N,C]. In training each group of `ghost_size` consecutive samples is
// normalised by its own statistics. Without a ghost size, or in a smaller batch, the whole (micro-)batch is one group.
// Saves x and the group statistics. diag(F): activation x backprop, the squares of sum_t dy xhat and of sum_t dy per
// sample. Passes its normalisation to the layer before it (Epilogue::normalisation).
// The epilogue is fused in both directions: the backward kernels add two gradients of the output, apply the ReLU and
// write the addend's gradient. They recompute the sign of the output from x. With an addend, which is freed by then,
// they read the sign from the saved output. At half precision, convolutions of some shapes beside it compute parts of
// both passes (layers/conv_block.h).
#pragma once

#include <algorithm>
#include <optional>

#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/layers/layer.h>

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
  int64_t ghost_batch(int64_t samples) const override {
    return std::min(samples, options_.ghost_size.value_or(samples));
  }
  FusibleEpilogue fuses() const override { return {.addend = true, .relu = true}; }
  Dual forward_dual(const DualForward& pass, Dual x) override;       // layers/batch_norm_dual.cpp
  Layer* fold_batch_norm(Context& context, Layer* before) override;  // layers/fold.cpp
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override { return forward_fused(pass, std::move(x), {}); }
  Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue) override;
  // With the convolutions beside it (layers/conv_block.h). The result is deferred if it goes through a ReLU.
  Variable forward_with_convolutions(const Forward& pass, const kernels::BatchNormShape& shape, Variable x,
                                     Epilogue epilogue);
  struct Saved;
  Variable record(const Forward& pass, Tensor y, Saved saved);
  void backward(BackwardPass& pass, const Saved& saved, Tensor grad_y, Tensor other);
  struct Gradients;
  // kept: the gradient of the ReLU's input is used after the kernels.
  Gradients gradients_of_sums(BackwardPass& pass, const Saved& saved, Tensor gradient, bool kept);
  Gradients gradients_of_sweeps(BackwardPass& pass, const Saved& saved, Tensor grad_y, Tensor other, bool kept);
  Variable normalise_by_running_statistics(const Forward& pass, Variable x, const Epilogue& epilogue);

  BatchNormOptions options_;
  int64_t channels_, positions_;
  Parameter gamma_, beta_;  // "weight" and "bias", as in PyTorch
  Buffer running_mean_, running_variance_;
};

}  // namespace noisysgd
