// Composition: layers in sequence, and the residual sum y = body(x) + shortcut(x). The constructor of a
// sequence finds the ReLUs that become epilogues; a residual block passes its shortcut as an addend in forward.
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

  FusibleEpilogue fuses() const override;  // those of the last layer
  void append_to(std::vector<Layer*>& sequence) override;
  bool reads_deferred() const override { return true; }
  Dual forward_dual(const DualForward& pass, Dual x) override;
  Layer* fold_batch_norm(Context& context, Layer* before) override;

 private:
  void match_stages();  // after a change of layers_
  // A layer of this sequence or of a nested one. relu: the ReLU after it is its epilogue. normalised_by: the next
  // stage, if it is a batch normalisation that shares an Epilogue::normalisation with this layer; or null.
  struct Stage {
    Layer* layer;
    bool relu = false;
    const Layer* normalised_by = nullptr;
  };

  Variable forward_impl(const Forward& pass, Variable x) override { return forward_fused(pass, std::move(x), {}); }
  Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue) override;
  LayerList layers_;
  std::vector<Stage> stages_;
};

// If the body's last layer can add an addend, the shortcut and a ReLU after the sum are its epilogue.
class Residual : public Layer {
 public:
  Residual(std::string name, std::unique_ptr<Sequential> body, std::unique_ptr<Sequential> shortcut);

  std::vector<Parameter*> parameters() override;
  std::vector<Buffer*> buffers() override;
  SampleCoupling coupling() const override;
  FusibleEpilogue fuses() const override;
  bool reads_deferred() const override { return true; }
  Dual forward_dual(const DualForward& pass, Dual x) override;
  Layer* fold_batch_norm(Context& context, Layer* before) override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override { return forward_fused(pass, std::move(x), {}); }
  Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue) override;
  std::unique_ptr<Sequential> body_, shortcut_;
};

}  // namespace noisysgd
