// Composition: layers in sequence, and the residual sum y = body(x) + shortcut(x). Both are matched once, when they are
// built, for what a layer can do as its epilogue.
#pragma once

#include <noisysgd/layers/layer.h>

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

  FusibleEpilogue fuses() const override;  // what the last layer can do
  void append_to(std::vector<Layer*>& sequence) override;

 private:
  // A layer of this sequence or of one within it; whether the ReLU after it is its epilogue, and whether the next stage
  // is a batch normalisation that it asks how its output is normalised.
  struct Stage {
    Layer* layer;
    bool relu = false, normalised = false;
  };

  Variable forward_impl(const Forward& pass, Variable x) override { return forward_fused(pass, std::move(x), {}); }
  Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue) override;
  LayerList layers_;
  std::vector<Stage> stages_;
};

// Where the body's last layer can add an addend, the shortcut is its epilogue, and so is a ReLU after the sum.
class Residual : public Layer {
 public:
  Residual(std::string name, std::unique_ptr<Sequential> body, std::unique_ptr<Sequential> shortcut);

  std::vector<Parameter*> parameters() override;
  std::vector<Buffer*> buffers() override;
  SampleCoupling coupling() const override;
  FusibleEpilogue fuses() const override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override { return forward_fused(pass, std::move(x), {}); }
  Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue) override;
  std::unique_ptr<Sequential> body_, shortcut_;
};

}  // namespace noisysgd
