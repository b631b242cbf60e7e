// LeNet.
#pragma once

#include <vector>

#include <noisysgd/layers/builder.h>

namespace noisysgd {

struct LenetOptions {
  std::vector<int64_t> channels{20, 50};
  int64_t hidden = 500;
};

// LeCun et al. 1998 in its usual modern form: [5x5 convolution, ReLU, 2x2 max pooling] twice, one hidden layer, a
// linear classifier.
std::unique_ptr<Layer> lenet(const Shape& input, int64_t classes, const LenetOptions& options = {});

}  // namespace noisysgd
