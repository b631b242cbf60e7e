// A convolution by the kernels of kernels/conv_block.h, which also compute parts of the batch normalisations before and
// behind it: in forward they normalise the input and give the statistics of the output, in backward they apply the
// factors of the one behind, and the ReLU and the sums of the one before.
#pragma once

#include <memory>
#include <optional>

#include <noisysgd/kernels/conv_block.h>
#include <noisysgd/layers/deferred.h>
#include <noisysgd/layers/layer.h>
#include <noisysgd/layers/normalisation.h>

namespace noisysgd {

class ConvBlock {
 public:
  // Empty if the kernels do not take the shape, or if there is nothing to compute beside the convolution. x: its input,
  // which this convolution will then be the first to read. behind: the normalisation of its output, or null.
  static std::optional<ConvBlock> find(const Forward& pass, const kernels::ConvShape& shape, const Variable& x,
                                       std::shared_ptr<Normalisation> behind);

  void forward(const Forward& pass, const Variable& x, const Parameter& weight, const Tensor& y) const;

  // gradient: as it reached y. Passes the gradient of x on and returns true, if the kernels can compute it; sets
  // `gradient` to that of y in any case.
  bool backward(BackwardPass& pass, const Variable& x, const Parameter& weight, const Tensor& y,
                Tensor& gradient) const;

 private:
  ConvBlock(const kernels::ConvBlockShape& shape, std::shared_ptr<Deferred> before,
            std::shared_ptr<Normalisation> behind)
      : shape_(shape), before_(std::move(before)), behind_(std::move(behind)) {}

  kernels::ConvBlockShape shape_;
  std::shared_ptr<Deferred> before_;       // null: x is an ordinary input
  std::shared_ptr<Normalisation> behind_;  // null: nothing is known of what reads y
};

}  // namespace noisysgd
