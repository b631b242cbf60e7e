// Plain SGD.
#pragma once

#include "optim/noise/noise.h"

namespace noisysgd {

class NoNoise : public NoiseStructure {
 public:
  void prepare(const NoiseStep&, std::span<kernels::SgdSegment>) override {}
};

}  // namespace noisysgd
