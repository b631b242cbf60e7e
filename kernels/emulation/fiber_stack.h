// The stacks that emulated threads run on, and jumps between them that the address sanitizer follows.
#pragma once

#include <noisysgd/kernels/emulation/context_switch.h>

namespace noisysgd::emulation {

struct FiberStack {
  SwitchContext context;
  char* base = nullptr;
  void* fake_stack = nullptr;  // the address sanitizer's, while another stack runs
};

// A stack whose first jump enters `entry`; a guard page catches its overflow. All of them run the same `entry`.
FiberStack* take_stack(void (*entry)());
void give_stack_back(FiberStack* stack);
// After a block was given up in the middle: every stack is new again.
void reset_stacks(void (*entry)());

// The stack that runs now; at first that of the host.
FiberStack* host_stack();
FiberStack* running_stack();
void jump(FiberStack* to);
// The first thing that `entry` does.
void entered_stack();

}  // namespace noisysgd::emulation
