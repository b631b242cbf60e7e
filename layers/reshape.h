// Layers that rearrange data: flatten, and the option-A shortcut of residual networks.
#pragma once

#include <noisysgd/layers/layer.h>

namespace noisysgd {

// [N,H,W,C] -> [N,C*H*W] in PyTorch's order (channels outermost). The weights of a linear layer after it are then in
// PyTorch's order too.
class Flatten : public Layer {
 public:
  Flatten(std::string name, const Shape& input) : Layer(std::move(name), input, Shape{input.elements()}) {}
  bool is_linear() const override { return true; }
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
};

// y[i,j,:] = x[i*stride, j*stride, :] followed by zero channels up to `channels` (He et al. 2016, option A).
class PadChannels : public Layer {
 public:
  PadChannels(std::string name, const Shape& input, int64_t stride, int64_t channels);
  bool is_linear() const override { return true; }
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
  int64_t stride_, channels_;
};

}  // namespace noisysgd
