// Composition: layers in sequence, and the residual sum y = body(x) + shortcut(x).
#pragma once

#include "layers/batch_norm.h"

namespace noisysgd {

using LayerList = std::vector<std::unique_ptr<Layer>>;

class Sequential : public Layer {
 public:
  // Each layer's input must be the output of the one before; an empty list is the identity.
  Sequential(std::string name, const Shape& input, LayerList layers);

  std::vector<Parameter*> parameters() override;
  std::vector<Buffer*> buffers() override;
  SampleCoupling coupling() const override;
  std::string describe(Graph& graph, const std::string& input) const override;

  // The batch normalisation that ends the list, or null.
  BatchNorm* last_batch_norm();
  // forward, with `addend` added to the output in the sweep of last_batch_norm, which must be there.
  Variable forward_sum(const Forward& pass, Variable x, Variable addend);

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
  Variable forward_first(size_t count, const Forward& pass, Variable x);
  LayerList layers_;
  std::vector<bool> absorbed_;  // ReLUs that the layer before them took over
};

// Where the body ends with a batch normalisation, that one adds the shortcut in its own sweep, and takes over a ReLU
// behind the sum.
class Residual : public Layer {
 public:
  Residual(std::string name, std::unique_ptr<Sequential> body, std::unique_ptr<Sequential> shortcut);

  std::vector<Parameter*> parameters() override;
  std::vector<Buffer*> buffers() override;
  SampleCoupling coupling() const override;
  bool absorb_relu() override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
  std::unique_ptr<Sequential> body_, shortcut_;
};

}  // namespace noisysgd
