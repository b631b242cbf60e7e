// The stacks of emulated threads, and jumps between them that are announced to the address sanitizer.
#pragma once

#include <noisysgd/kernels/emulation/context_switch.h>

namespace noisysgd::emulation {

struct FiberStack {
  SwitchContext context;
  char* base = nullptr;
  void* fake_stack = nullptr;  // the address sanitizer's, while another stack runs
};

// Returns a stack; the first jump to it calls `entry`, which is the same for all stacks. A guard page catches overflow.
FiberStack* take_stack(void (*entry)());
void give_stack_back(FiberStack* stack);
// Resets every stack after a block was abandoned.
void reset_stacks(void (*entry)());

// The stack of the host, and the running stack, which at first is that of the host.
FiberStack* host_stack();
FiberStack* running_stack();
void jump(FiberStack* to);
// `entry` must call this first.
void entered_stack();

}  // namespace noisysgd::emulation
