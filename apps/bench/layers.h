// Every convolution and linear layer of a network on its own, of layers that compute the same the first: forward,
// gradients, and second moments, in GFLOP/s and as a share of the arithmetic ceiling. FLOPs are those of the products
// asked for: 2 per multiply-add, twice that where a second moment needs a second product (the spatial estimator, and
// linear layers). Times of second moments are compared with the plain weight gradient's and, where cuDNN is there, with
// cuDNN's.
#pragma once

#include <string>

#include <noisysgd/apps/bench/ceilings.h>
#include <noisysgd/apps/bench/section.h>

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
