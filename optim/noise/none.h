// Plain SGD.
#pragma once

#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

class NoNoise : public NoiseStructure {
 public:
  void prepare(const NoiseStep&, std::span<kernels::NoiseField>) override {}
};

}  // namespace noisysgd
