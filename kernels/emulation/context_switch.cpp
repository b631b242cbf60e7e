#include <noisysgd/kernels/emulation/context_switch.h>

#if defined(__x86_64__)

// ucontext would be ten times slower: it makes two system calls per switch.
extern "C" void noisysgd_emulation_switch(void** save, void* to);
asm(R"(
.text
.globl noisysgd_emulation_switch
.type noisysgd_emulation_switch,@function
noisysgd_emulation_switch:
  .cfi_startproc
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
.size noisysgd_emulation_switch,.-noisysgd_emulation_switch
)");

namespace noisysgd::emulation {

void prepare_context(SwitchContext& context, char* base, size_t bytes, void (*entry)()) {
  void** top = reinterpret_cast<void**>(base + bytes);
  *--top = nullptr;                         // the return address of `entry`: where unwinders stop
  *--top = reinterpret_cast<void*>(entry);  // the first switch "returns" here
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context.stack_pointer = top;
}

void switch_context(SwitchContext& from, SwitchContext& to) {
  noisysgd_emulation_switch(&from.stack_pointer, to.stack_pointer);
}

}  // namespace noisysgd::emulation

#else

namespace noisysgd::emulation {

void prepare_context(SwitchContext& context, char* base, size_t bytes, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = base;
  context.context.uc_stack.ss_size = bytes;
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}

void switch_context(SwitchContext& from, SwitchContext& to) { swapcontext(&from.context, &to.context); }

}  // namespace noisysgd::emulation

#endif
