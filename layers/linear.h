// y = x W^T + b for x [N,in_features], W [out_features,in_features]. Saves x. diag(F) is exact: one matrix product of
// squares. A ReLU is fused in both directions; its output is then also saved.
#pragma once

#include <noisysgd/layers/layer.h>

namespace noisysgd {

struct LinearOptions {
  int64_t out_features = 0;
  bool bias = true;
};

class Linear : public Layer {
 public:
  Linear(std::string name, const Shape& input, const LinearOptions& options);

  std::vector<Parameter*> parameters() override;
  FusibleEpilogue fuses() const override { return {.relu = true, .normalisation = true}; }
  Dual forward_dual(const DualForward& pass, Dual x) override;
  bool absorb(Context& context, const ChannelMap& map) override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override { return forward_fused(pass, std::move(x), {}); }
  Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue) override;

  LinearOptions options_;
  Parameter weight_, bias_;
  KroneckerShape kronecker_;
};

}  // namespace noisysgd
