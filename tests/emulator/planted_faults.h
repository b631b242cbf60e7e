// Kernels with one fault each, which the emulator must detect.
#pragma once

#include <string>

#include <noisysgd/kernels/queue.h>

namespace noisysgd::test {

// Launches the kernel with the fault of that name; x and y: 256 floats each on the device. "none" doubles x;
// "product" has no fault. Faults:
//   in every build: divergent_barrier, missed_barrier, unequal_loops, mask_without_lane, shuffle_outside_mask,
//     barrier_and_warp (a deadlock), copy_never_awaited, host_pointer, block_too_large,
//     product_{without_fence,not_committed,never_awaited,misaligned,beyond_memory,operand_changed,sum_changed,
//     wait_too_weak,sums_forgotten};
//   by the values they leave: wait_too_weak, product_without_barrier (NaN);
//   by the address sanitizer: shared_out_of_bounds, dynamic_out_of_bounds, global_out_of_bounds, misaligned;
//   by the race checker: missing_barrier, missing_warp_barrier, missing_second_barrier, block_race, unwritten_shared,
//     product_without_barrier, product_not_published.
void launch_fault(kernels::Queue& queue, const std::string& name, const float* x, float* y);

}  // namespace noisysgd::test
