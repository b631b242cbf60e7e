// Benchmarks operations that are limited by memory bandwidth: the bytes that each must at least read and write, per
// second, as a share of the copy bandwidth of the same device.
#pragma once

#include <noisysgd/bench/ceilings.h>
#include <noisysgd/bench/report.h>

namespace noisysgd::bench {

struct BandwidthOptions {
  Device device;
  int threads = 0, rounds = 9;
  DeviceSizes sizes;
};

Section measure_bandwidth(const BandwidthOptions& options);

}  // namespace noisysgd::bench
