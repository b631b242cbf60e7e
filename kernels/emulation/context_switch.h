// Switches between the stacks of one OS thread. Only the registers that a call preserves and the stack pointer are
// saved.
#pragma once

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include <cstddef>

namespace noisysgd::emulation {

#if defined(__x86_64__)
struct SwitchContext {
  void* stack_pointer = nullptr;
};
#else
struct SwitchContext {
  ucontext_t context;
};
#endif

// A context that starts in `entry` (which must not return) on the stack [base, base + bytes).
void prepare_context(SwitchContext& context, char* base, size_t bytes, void (*entry)());
// Saves the running context in `from` and continues where `to` was saved.
void switch_context(SwitchContext& from, SwitchContext& to);

}  // namespace noisysgd::emulation
