// Compares the ops of swish_op.h with their formulas in fp64, on the CPU and, if NoisySGD was built with CUDA, on the
// CUDA device or its emulation. Exits with 1 if an error is too large.
#include <cstdio>
#include <vector>

#include "swish_cases.h"

int main() {
  using namespace noisysgd;
  std::vector<Device> devices{{Backend::cpu}};
  if (kernels::built_with_cuda) devices.push_back({Backend::cuda});
  int failed = 0;
  for (const Device& device : devices) {
    Context context(device, 2);
    const auto check = [&](const bench::Case& one) {
      const double error = bench::error_of(context, one);
      const bool good = error <= one.error;
      std::printf("%s on %s, %s: error %.1e%s\n", one.name.c_str(), device.name().c_str(),
                  one.arrays[1].shape.text().c_str(), error, good ? "" : ", TOO LARGE");
      if (!good) ++failed;
    };
    for (const int64_t n : {1, 31, 32, 33, 1025, 600001}) check(swish_ops::forward_case(n));  // more than one grid
    for (const int64_t samples : {1, 3, 2049})
      for (const int64_t features : {1, 31, 257}) check(swish_ops::backward_case(samples, features));
  }
  return failed == 0 ? 0 : 1;
}
