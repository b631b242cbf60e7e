// AlexNet in its CIFAR form.
#pragma once

#include <optional>

#include <noisysgd/layers/builder.h>

namespace noisysgd {

struct AlexnetOptions {
  bool batch_norm = true;
  float dropout = 0.5f;  // after each of the two hidden linear layers
  std::optional<int64_t> ghost_size = {};
};

// The AlexNet of the large-batch literature (Keskar et al. 2017, network C1; C3 on CIFAR-100): [5x5 convolution of 64
// filters, batch norm, ReLU, 3x3 max pooling of stride 2] twice, hidden layers of 384 and 192 with batch norm, ReLU and
// dropout, a linear classifier. Convolutions and pooling are padded, so that 32x32 becomes 8x8.
std::unique_ptr<Layer> alexnet(const Shape& input, int64_t classes, const AlexnetOptions& options = {});

}  // namespace noisysgd
