// 2-D convolution, x [N,H,W,C] -> y [N,Ho,Wo,K], W [K,R,S,C]. Saves x. The pass of the weight gradient also computes
// diag(F), exact or spatial, and sums with one sign per sample (kernels/conv_second_moment.h). A ReLU is fused in both
// directions; its output is then also saved. At half precision, 3x3 convolutions of some shapes without a bias also
// compute parts of the batch normalisations around them (layers/conv_block.h).
#pragma once

#include <array>

#include <noisysgd/kernels/conv.h>
#include <noisysgd/layers/layer.h>

namespace noisysgd {

class ConvBlock;  // layers/conv_block.h

struct Conv2dOptions {
  int64_t out_channels = 0;
  std::array<int64_t, 2> kernel{3, 3}, stride{1, 1}, padding{0, 0};  // height, width
  bool bias = true;
};

class Conv2d : public Layer {
 public:
  Conv2d(std::string name, const Shape& input, const Conv2dOptions& options);

  std::vector<Parameter*> parameters() override;
  bool reads_deferred() const override { return true; }
  FusibleEpilogue fuses() const override { return {.relu = true, .normalisation = true}; }
  Dual forward_dual(const DualForward& pass, Dual x) override;
  bool absorb(Context& context, const ChannelMap& map) override;
  std::string describe(Graph& graph, const std::string& input) const override;

 private:
  Variable forward_impl(const Forward& pass, Variable x) override { return forward_fused(pass, std::move(x), {}); }
  Variable forward_fused(const Forward& pass, Variable x, Epilogue epilogue) override;
  Variable forward_block(const Forward& pass, const ConvBlock& block, const kernels::ConvShape& shape, Variable x,
                         std::shared_ptr<Normalisation> normalisation);
  void backward_data(BackwardPass& backward, const kernels::ConvShape& shape, const Variable& x,
                     const Tensor& grad_y) const;

  Conv2dOptions options_;
  kernels::ConvShape shape_;  // of one sample
  Parameter weight_, bias_;
  KroneckerShape kronecker_;
};

}  // namespace noisysgd
