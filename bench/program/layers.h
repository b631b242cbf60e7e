// Benchmarks the convolutions and linear layers of a network one by one, equal layers once: forward, gradients and
// second moments, in GFLOP/s and as a share of the arithmetic peak. FLOPs are those of the matrix products: 2 per
// multiply-add, twice that if a second moment needs a second product (the spatial estimator, and linear layers). Times
// of second moments are compared with the plain weight gradient's and, if cuDNN is available, with cuDNN's.
// At half precision convolutions read and write arrays of 16 bits, but cuDNN's weight gradient reads fp32.
#pragma once

#include <string>

#include <noisysgd/bench/ceilings.h>
#include <noisysgd/bench/report.h>

namespace noisysgd::bench {

struct LayerOptions {
  int64_t batch = 512;
  int threads = 0;
  int rounds = 9;
  Device device;
  kernels::Precision precision = kernels::Precision::fp32;
  DeviceSizes sizes;
};

Section measure_layers(const std::string& network, const LayerOptions& options);

}  // namespace noisysgd::bench
