// Partial sums merged without a second launch: of the blocks that write them, the one that finishes last merges them.
// No block waits for another. Which block is the last differs from run to run, so the merge must have a fixed order.
#pragma once

#include <noisysgd/kernels/cuda/gpu.h>

namespace noisysgd::kernels::cuda {

// Bytes of shared memory that is_last_block adds to those of a kernel's launch.
inline constexpr size_t last_block_bytes = 128;

// True in every thread of the block that is the last of `blocks` blocks to call this with the same counter
// (CudaState::counters). That block sees what the others wrote to global memory before their calls. The counter is 0
// before the first call and after the last one, so the next kernel of the queue can use it. All threads of the block
// must call. A single block needs no counter.
__device__ inline bool is_last_block(unsigned* counter, unsigned blocks) {
  GPU_SHARED(bool, is_last);
  __syncthreads();  // the block has written its part, and has read the answer of an earlier call
  if (blocks == 1) return true;
  if (threadIdx.x == 0) {
    __threadfence();
    is_last = atomicInc(counter, blocks - 1) == blocks - 1;
    __threadfence();
  }
  __syncthreads();
  return is_last;
}

}  // namespace noisysgd::kernels::cuda
