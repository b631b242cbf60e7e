// Shared memory and launches of kernels/cuda/gpu.h for nvcc.
#pragma once

#define GPU_SHARED(type, name, ...) __shared__ __align__(32) type name __VA_ARGS__
// extern arrays of different types may not share a name, so all are arrays of bytes.
#define GPU_DYNAMIC_SHARED(type, name)                                       \
  extern __shared__ __align__(128) unsigned char gpu_dynamic_shared_bytes[]; \
  type* const name = reinterpret_cast<type*>(gpu_dynamic_shared_bytes)

namespace noisysgd::gpu {

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

}  // namespace noisysgd::gpu
