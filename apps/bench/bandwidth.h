// Operations that move data and hardly compute: the bytes that each must at least read and write, per second, as a
// share of the bandwidth of copying on the same device.
#pragma once

#include "apps/bench/ceilings.h"
#include "apps/bench/section.h"

namespace noisysgd::bench {

struct BandwidthOptions {
  Device device;
  int threads = 0, rounds = 9;
  int64_t parameters = 14'720'000;  // VGG16's
  int64_t batch = 4096;             // of a 32x32x16 activation in ghost batches of 128
  DeviceSizes sizes;
};

Section measure_bandwidth(const BandwidthOptions& options);

}  // namespace noisysgd::bench
