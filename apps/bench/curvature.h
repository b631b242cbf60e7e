// What a product with a curvature matrix costs beside a gradient of the same model, in time and memory: of a network
// whose batch normalisations are folded, as those products are taken of it.
#pragma once

#include <string>

#include <noisysgd/apps/bench/section.h>
#include <noisysgd/core/tensor.h>

namespace noisysgd::bench {

struct CurvatureBenchOptions {
  int64_t batch = 4096;
  int64_t micro = 0;  // samples per forward and backward pass; 0: the whole batch
  int threads = 0;
  int rounds = 9;
  Device device;
  kernels::Precision precision = kernels::Precision::fp32;
};

Section measure_curvature(const std::string& network, const CurvatureBenchOptions& options);

}  // namespace noisysgd::bench
