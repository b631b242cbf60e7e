// 2-D convolution, x [N,H,W,C] -> y [N,Ho,Wo,K], W [K,R,S,C]. Saves x. The pass of the weight gradient also computes
// diag(F), exact or spatial, and sums with one sign per sample (kernels/conv_second_moment.h). A ReLU is fused in both
// directions; its output is then also saved.
#pragma once

#include <array>

#include <noisysgd/kernels/conv.h>
#include <noisysgd/layers/layer.h>

namespace noisysgd {

struct Conv2dOptions {
  int64_t out_channels = 0;
  std::array<int64_t, 2> kernel{3, 3}, stride{1, 1}, padding{0, 0};  // height, width
  bool bias = true;
};

class Conv2d : public Layer {
 public:
  Conv2d(std::string name, const Shape& input, const Conv2dOptions& options);

  std::vector<Parameter*> parameters() override;
  FusibleEpilogue fuses() const override { return {.relu = true, .normalisation = true}; }
  Dual forward_dual(const DualForward& pass, Dual x) override;
  bool absorb(Context& context, const ChannelMap& map) override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override { return forward_fused(pass, std::move(x), {}); }
  Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue) override;

  Conv2dOptions options_;
  kernels::ConvShape shape_;  // of one sample
  Parameter weight_, bias_;
  KroneckerShape kronecker_;
};

}  // namespace noisysgd
