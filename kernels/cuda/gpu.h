// The only CUDA header that kernels include: CUDA itself under nvcc, its emulation on the CPU under a host compiler
// (docs/cuda.md). Kernels live in an unnamed namespace and are launched through kernels/cuda/launch.h.
//
//   GPU_SHARED(float, tile, [32][33]);    a shared array of the block
//   GPU_DYNAMIC_SHARED(float, buffer);    a pointer to the launch's shared_bytes, 128-byte aligned
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/runtime.h"

#ifdef __CUDACC__

#include <cuda_pipeline.h>
#include <cuda_runtime.h>
#define GPU_SHARED(type, name, ...) __shared__ __align__(32) type name __VA_ARGS__
// extern arrays of different types may not share a name: all are bytes.
#define GPU_DYNAMIC_SHARED(type, name)                                       \
  extern __shared__ __align__(128) unsigned char gpu_dynamic_shared_bytes[]; \
  type* const name = reinterpret_cast<type*>(gpu_dynamic_shared_bytes)

#else

#include "tests/emulation/emulator.h"
// The address of the static stands for this declaration.
#define GPU_SHARED(type, name, ...)                                                      \
  static char name##_key;                                                                \
  using name##_type = type __VA_ARGS__;                                                  \
  name##_type& name = *static_cast<name##_type*>(::noisysgd::emulation::shared_variable( \
      &name##_key, sizeof(name##_type), alignof(name##_type) > 32 ? alignof(name##_type) : 32))
#define GPU_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::noisysgd::emulation::dynamic_shared())

#endif

namespace noisysgd::gpu {

#ifdef __CUDACC__
// kernel<<<grid, block, shared_bytes, stream>>>(arguments...) with the error as its value.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "wrong number of kernel arguments");
  if (shared_bytes > 48 * 1024) {
    const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Arguments&&>(arguments)...);
}
#else
using emulation::launch;
#endif

}  // namespace noisysgd::gpu
