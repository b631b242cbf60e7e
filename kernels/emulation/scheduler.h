// The CUDA execution model on one OS thread: the threads of a block are fibers that switch where they wait for one
// another; blocks run one after another. A violation (divergent barrier, a mask that names an exited lane, deadlock, …)
// ends the block and throws noisysgd::Error with the threads and source lines, from the launch or from the wait for it.
#pragma once

#include <string>
#include <vector>

#include <noisysgd/kernels/emulation/types.h>

// Default arguments that record the caller's file and line.
#define NSGD_EMULATION_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

extern uint3 threadIdx, blockIdx;  // rewritten at every switch
extern dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace noisysgd::emulation {

struct Options {
  enum class Order { forward, reverse, lifo, random };
  Order order = Order::forward;  // of threads and blocks; NSGD_EMULATION_ORDER
  unsigned seed = 1;             // of the random order; NSGD_EMULATION_SEED
  bool deferred = false;         // streams run only when they are waited for; NSGD_EMULATION_DEFERRED=1
  bool races = true;             // false: a build with the race checker does not look for races, only at traffic.h
};
Options& options();  // initialised from the environment

// Runs all blocks; entry(argument) is one thread's run of the kernel.
void run_grid(dim3 grid, dim3 block, size_t shared_bytes, void (*entry)(void*), void* argument, const void* kernel);
// Checks CUDA's limits of a launch, and that a pointer passed to a kernel is a device pointer.
cudaError_t check_launch(dim3 grid, dim3 block, size_t shared_bytes);
void check_kernel_argument(const void* pointer, const void* kernel);

// Symbols of the kernels that were launched in this process.
std::vector<std::string> launched_kernels();

// ---- for device code ----
[[noreturn]] void fail(const char* what, const char* file, int line);
unsigned lane();
void* dynamic_shared();
size_t dynamic_shared_bytes();
// The block's shared variable that `key` identifies, filled with NaN in each block.
void* shared_variable(const void* key, size_t bytes, size_t alignment);

// All threads of the block meet; the last one calls `meet` with everyone's arguments, then all continue.
using BlockMeeting = void (*)(void** arguments, int threads);
void block_barrier(const char* operation, const char* file, int line, BlockMeeting meet = nullptr,
                   void* argument = nullptr);
// The same for the lanes of `mask`; arguments[lane] of other lanes is not set.
using WarpMeeting = void (*)(void* const* arguments, unsigned mask);
void warp_collective(unsigned mask, const char* operation, WarpMeeting meet, void* argument, const char* file,
                     int line);

// cp.async: copies are carried out at the wait, the last moment that CUDA allows, so that a missing wait is noticed.
void async_copy(void* to, const void* from, size_t bytes, size_t zero_fill, const char* file, int line);
void async_commit();
void async_wait(size_t groups_left);

class WarpgroupProducts;
WarpgroupProducts& warpgroup_products();  // wgmma products of the running thread

}  // namespace noisysgd::emulation
