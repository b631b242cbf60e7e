// Layers without parameters that keep the shape: ReLU and dropout.
#pragma once

#include <noisysgd/layers/layer.h>

namespace noisysgd {

// y = max(x, 0), in place if nothing else holds x. Saves y.
class Relu : public Layer {
 public:
  Relu(std::string name, const Shape& input) : Layer(std::move(name), input, input) {}
  bool is_relu() const override { return true; }
  Dual forward_dual(const DualForward& pass, Dual x) override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
};

// y = x mask / (1 - probability) in training, the identity otherwise. The mask is a function of seed, step, layer and
// the sample's index in the batch; backward draws it again instead of reading a saved copy.
class Dropout : public Layer {
 public:
  // stream: distinguishes the masks of several dropout layers.
  Dropout(std::string name, const Shape& input, float probability, uint32_t stream)
      : Layer(std::move(name), input, input), probability_(probability), stream_(stream) {}
  bool is_linear() const override { return true; }
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;

  float probability_;
  uint32_t stream_;
};

}  // namespace noisysgd
