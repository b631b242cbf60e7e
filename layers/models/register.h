// Registers the networks under their JSON types.
#pragma once

#include <noisysgd/layers/registry.h>

namespace noisysgd {

// Adds mlp, lenet, alexnet, vgg16 and resnet.
void add_models(LayerRegistry& registry);

}  // namespace noisysgd
