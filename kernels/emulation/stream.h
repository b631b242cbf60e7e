// Work on an emulated stream, for the functions that put some there: kernel launches, cuBLAS and cuDNN.
#pragma once

#include <functional>

#include <noisysgd/kernels/emulation/types.h>

namespace noisysgd::emulation {

// Queues work on a stream: runs it now, defers it, or records it into the graph that is being captured.
cudaError_t submit(cudaStream_t stream, std::function<void()> work);

}  // namespace noisysgd::emulation
