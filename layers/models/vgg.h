// VGG16 with batch normalisation, in its CIFAR form.
#pragma once

#include <optional>

#include <noisysgd/layers/builder.h>

namespace noisysgd {

struct VggOptions {
  std::optional<int64_t> ghost_size = {};
};

// Simonyan & Zisserman 2015, configuration D: thirteen 3x3 convolutions, each with batch norm and ReLU, in five stages
// of 64, 128, 256, 512 and 512 filters that end in 2x2 max pooling, and one linear classifier of the 512 features that
// remain of a 32x32 image. Names count every layer, as in PyTorch's vgg16_bn (features.0.weight). Convolutions have no
// bias, because batch norm would cancel it.
std::unique_ptr<Layer> vgg16(const Shape& input, int64_t classes, const VggOptions& options = {});

}  // namespace noisysgd
