// The residual networks for CIFAR: ResNet20, 32, 44, 56, 110, of any width.
#pragma once

#include <optional>

#include <noisysgd/layers/builder.h>

namespace noisysgd {

// The shortcut of a block that halves the image and doubles the filters: a 1x1 convolution with batch norm (option B of
// He et al.), or every second pixel with zero channels added, without parameters (option A).
enum class ResnetShortcut { projection, identity_pad };

struct ResnetOptions {
  int64_t depth = 44;  // 6n+2: three stages of n blocks of two convolutions, one convolution before, one linear after
  int64_t width = 1;   // multiplies the filters 16, 32, 64 of the stages; 2: ResNet44X2 of the paper
  ResnetShortcut shortcut = ResnetShortcut::projection;
  std::optional<int64_t> ghost_size = {};
};

// He et al. 2016, Section 4.2. Parameters are named as in PyTorch's ResNets: conv1.weight, layer1.0.bn2.bias,
// layer2.0.downsample.0.weight, fc.weight. Throws Error if the depth is not 6n+2 with n >= 1.
std::unique_ptr<Layer> resnet(const Shape& input, int64_t classes, const ResnetOptions& options = {});

}  // namespace noisysgd
