// The only CUDA header that kernels include. The include path selects NVIDIA's CUDA under nvcc and its emulation under
// a host compiler (docs/cuda.md). Kernels are in an unnamed namespace and are launched through kernels/cuda/launch.h.
//
//   GPU_SHARED(float, tile, [32][33]);    a shared array of the block
//   GPU_DYNAMIC_SHARED(float, buffer);    a pointer to the launch's shared_bytes, 128-byte aligned
#pragma once

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include <noisysgd/kernels/cuda/runtime.h>

namespace noisysgd::gpu {

// Launches kernel<<<grid, block, shared_bytes, stream>>>(arguments...) and returns the error.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Arguments&&... arguments);

}  // namespace noisysgd::gpu

#include <nsgd_gpu.h>
