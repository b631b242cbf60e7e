// Measures the limits of the machine: arithmetic, memory bandwidth, and the matrix product of its library.
#pragma once

#include <noisysgd/apps/bench/section.h>
#include <noisysgd/core/tensor.h>

namespace noisysgd::bench {

// For one thread and for `threads`: FMA peak, copy bandwidth (bytes read plus bytes written) and sgemm.
Section measure_ceilings(int threads, int rounds);

// Problem sizes that show a device's limits. Memory benchmarks must be far larger than its caches.
struct DeviceSizes {
  int64_t copied_floats = int64_t{1} << 28, gemm_order = 8192;
  int64_t parameters = 14'720'000;  // VGG16's: the noise step moves 353 MB
  int64_t activations = 4096;       // samples of 32x32x16, 268 MB, in ghost batches of 128
  // For an emulated device, where times mean nothing.
  static DeviceSizes tiny() { return {1 << 12, 32, 4096, 2}; }
};

double copy_bandwidth(Context& context, int rounds, int64_t floats);  // bytes read plus bytes written, per second
double gemm_peak(Context& context, int rounds, int64_t order);        // FLOP/s at the queue's precision
Section measure_device_ceilings(const Device& device, const DeviceSizes& sizes, int rounds);

}  // namespace noisysgd::bench
