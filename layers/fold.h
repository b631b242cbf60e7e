// Batch normalisation at its running statistics is an affine map of each channel, which the linear layer or the
// convolution before it takes into its weights and bias (Model::fold_batch_norm).
#pragma once

#include <vector>

#include <noisysgd/core/parameter.h>

namespace noisysgd {

// y -> scale y + shift of each output channel.
struct ChannelMap {
  std::vector<double> scale, shift;

  // What y = W x + b becomes: of weight [K,…] and bias [K], which exists from here on if the layer had none.
  void apply(Context& context, KroneckerShape& factors, Parameter& weight, Parameter& bias) const;
};

}  // namespace noisysgd
