// Work on an emulated stream, for the functions that issue it: kernel launches, cuBLAS and cuDNN.
#pragma once

#include <functional>

#include <noisysgd/kernels/emulation/types.h>

namespace noisysgd::emulation {

// Issues work to a stream: runs it immediately, defers it, or records it into the graph that is being captured.
cudaError_t submit(cudaStream_t stream, std::function<void()> work);

// Time that work took on the emulated device in addition to the host's time; events measure both.
inline double& device_seconds() {
  static double seconds = 0;
  return seconds;
}

}  // namespace noisysgd::emulation
