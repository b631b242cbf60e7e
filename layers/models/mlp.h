// The fully connected network.
#pragma once

#include <vector>

#include <noisysgd/layers/builder.h>

namespace noisysgd {

struct MlpOptions {
  std::vector<int64_t> hidden{512, 512};
  float dropout = 0.0f;  // after each hidden layer
};

// flatten, then linear and ReLU per hidden layer, then a linear classifier.
std::unique_ptr<Layer> mlp(const Shape& input, int64_t classes, const MlpOptions& options = {});

}  // namespace noisysgd
