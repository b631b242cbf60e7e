// The only CUDA header that kernels include. The include path says which CUDA that is: NVIDIA's under nvcc, its
// emulation under a host compiler (docs/cuda.md). Kernels live in an unnamed namespace and are launched through
// kernels/cuda/launch.h.
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

// kernel<<<grid, block, shared_bytes, stream>>>(arguments...) with the error as its value.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Arguments&&... arguments);

}  // namespace noisysgd::gpu

#include <nsgd_gpu.h>
