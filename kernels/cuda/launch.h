// The only way a kernel is launched.
#pragma once

#include <noisysgd/kernels/cuda/gpu.h>
#include <noisysgd/kernels/cuda/state.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels::cuda {

// Bytes of shared memory that a block may have on every GPU from compute capability 8.0 on: on 8.6, 8.9 and 12.0 no
// more, on 8.0 163 KiB, on 9.0 and 10.0 227 KiB. What needs more asks CudaState::shared_memory() first.
inline constexpr size_t least_shared_memory = 99 * 1024;

// Puts kernel(arguments...) on the queue's stream. Throws Error with the kernel's name and the sizes if CUDA refuses;
// OutOfMemory if there is no room for its code, which CUDA loads when a kernel is first launched.
template <class... Parameters, class... Arguments>
void launch(Queue& queue, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            Arguments&&... arguments) {
  const cudaError_t error = queue.with_reserve(cudaErrorMemoryAllocation, [&] {
    return taken(gpu::launch(kernel, grid, block, shared_bytes, queue.cuda().stream(), arguments...));
  });
  if (error == cudaSuccess) [[likely]]
    return;
  const char* name = "a kernel";
  cudaFuncGetName(&name, reinterpret_cast<const void*>(kernel));
  fail(error == cudaErrorMemoryAllocation,
       message("{}: {} (grid {}×{}×{}, block {}×{}×{}, {} bytes of shared memory)", name, cudaGetErrorString(error),
               grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes));
}

}  // namespace noisysgd::kernels::cuda
