// Measures the limits of the machine: arithmetic, memory bandwidth, and the matrix product of its library.
#pragma once

#include <string>

#include <noisysgd/bench/report.h>
#include <noisysgd/core/tensor.h>

namespace noisysgd::bench {

// For one thread and for `threads`: FMA peak, copy bandwidth (bytes read plus bytes written) and sgemm.
Section measure_ceilings(int threads, int rounds);

// Problem sizes that show a device's limits. Memory benchmarks must be far larger than its caches.
struct DeviceSizes {
  int64_t copied_floats = int64_t{1} << 28, gemm_order = 8192;
  int64_t parameters = 14'720'000;  // VGG16's: the noise step moves 353 MB
  int64_t activations = 4096;       // samples of 32x32x16, 268 MB, in ghost batches of 128
  // Tiny for an emulated device, where times mean nothing.
  static DeviceSizes of(const Device& device, bool emulated);
};

double copy_bandwidth(Context& context, int rounds, int64_t floats);  // bytes read plus bytes written, per second
double gemm_peak(Context& context, int rounds, int64_t order);        // FLOP/s at the queue's precision

// What bounds an operation that moves and computes this much: the slower of the two.
struct Roofs {
  double bytes_per_second = 0, flops_per_second = 0;
  std::string arithmetic = "FMA";  // what flops_per_second is the rate of; on a CUDA device "product"
};
// Copy bandwidth; on the CPU the FMA peak, on a CUDA device the product of matrices in fp32.
Roofs measure_roofs(Context& context, const DeviceSizes& sizes, int rounds);
Section measure_device_ceilings(const Device& device, const DeviceSizes& sizes, int rounds);

}  // namespace noisysgd::bench
