// Composition: layers in sequence, and the residual sum y = body(x) + shortcut(x).
#pragma once

#include "layers/layer.h"

namespace noisysgd {

using LayerList = std::vector<std::unique_ptr<Layer>>;

class Sequential : public Layer {
 public:
  // Each layer's input must be the output of the one before; an empty list is the identity.
  Sequential(std::string name, const Shape& input, LayerList layers);

  std::vector<Parameter*> parameters() override;
  std::vector<Buffer*> buffers() override;
  int64_t ghost_size() const override;
  bool couples_samples() const override;
  int64_t least_batch() const override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
  LayerList layers_;
};

class Residual : public Layer {
 public:
  Residual(std::string name, std::unique_ptr<Sequential> body, std::unique_ptr<Sequential> shortcut);

  std::vector<Parameter*> parameters() override;
  std::vector<Buffer*> buffers() override;
  int64_t ghost_size() const override;
  bool couples_samples() const override;
  int64_t least_batch() const override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override;
  std::unique_ptr<Sequential> body_, shortcut_;
};

}  // namespace noisysgd
