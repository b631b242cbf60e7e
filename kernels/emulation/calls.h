// Counts of host operations that cost time on a GPU, for tests.
#pragma once

#include <cstdint>

namespace noisysgd::emulation {

struct Calls {
  int64_t waits = 0;           // of the host for the device: synchronisations, and copies that imply one
  int64_t allocations = 0;     // and releases
  int64_t launches = 0;        // of kernels, copies, library calls and graphs onto a stream
  int64_t graph_launches = 0;  // the graphs among them
};
Calls& calls();

}  // namespace noisysgd::emulation
