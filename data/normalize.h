// Mean and standard deviation of every channel over all pixels, on the [0, 1] scale (population form, divisor N·H·W).
// Sums are exact integers, so the result does not depend on the number of threads.
#pragma once

#include <vector>

#include <noisysgd/data/dataset.h>

namespace noisysgd {

struct ChannelStatistics {
  std::vector<double> mean;                // [C]
  std::vector<double> standard_deviation;  // [C]

  // 1 / standard_deviation; throws Error for a channel that is constant.
  std::vector<float> inverse_standard_deviation() const;
};

ChannelStatistics channel_statistics(const Dataset& dataset);

}  // namespace noisysgd
