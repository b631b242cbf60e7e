// How the learning rate scales with the batch size: not at all, linearly (Goyal et al. 2017), or with the square root
// (Krizhevsky 2014; Hoffer et al. 2017).
#pragma once

#include <cstdint>

#include <noisysgd/core/config.h>

namespace noisysgd {

enum class ScalingRule { none, linear, square_root };

struct LearningRateScaling {
  ScalingRule rule = ScalingRule::none;
  int64_t base_batch = 128;  // at this batch size the rate is the configured one

  double factor(int64_t batch) const;
};

LearningRateScaling read_learning_rate_scaling(const ConfigReader& json);

}  // namespace noisysgd
