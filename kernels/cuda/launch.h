// The launch of a kernel on a queue. All kernels are launched this way.
#pragma once

#include <noisysgd/kernels/cuda/gpu.h>
#include <noisysgd/kernels/cuda/state.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels::cuda {

// Bytes of shared memory that a block may have on every GPU from compute capability 8.0 on. This is the limit of 8.6,
// 8.9 and 12.0; it is 163 KiB on 8.0 and 227 KiB on 9.0 and 10.0. Kernels that need more check
// CudaState::shared_memory().
inline constexpr size_t least_shared_memory = 99 * 1024;

// Issues kernel(arguments...) to the queue's stream. Throws Error with the kernel's name and the sizes if CUDA returns
// an error. Throws OutOfMemory if there is no room for its code, which CUDA loads at the first launch.
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
