// The networks that are measured, by name: mlp and lenet on 28x28 grey images; on 32x32 colour images alexnet, vgg16,
// resnet20, resnet44 and resnet44x2 with ghost batch norm, and convnet, a 3x3 network: conv 16, ReLU, conv 16, pool,
// conv 32, ReLU, pool, linear.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <noisysgd/layers/layer.h>

namespace noisysgd::bench {

inline constexpr int64_t classes = 10;
inline constexpr int64_t ghost_size = 128;

std::vector<std::string> network_names();
std::unique_ptr<Layer> make_network(const std::string& name);

}  // namespace noisysgd::bench
