#include <noisysgd/kernels/emulation/fiber_stack.h>

#include <pthread.h>
#include <sys/mman.h>

#include <new>
#include <vector>

#include <noisysgd/kernels/emulation/sanitizer.h>

namespace noisysgd::emulation {

namespace {

constexpr size_t stack_bytes = size_t(256) << 10;  // per thread; only touched pages cost memory
constexpr size_t guard_bytes = 4096;

struct Stacks {  // never destroyed, so that the leak sanitizer can reach all stacks
  std::vector<FiberStack*> all, free;
  FiberStack host;
  FiberStack* running = &host;
};
Stacks& stacks() {
  static Stacks& instance = *new Stacks;
  return instance;
}

#ifdef NSGD_EMULATION_ASAN
size_t host_stack_bytes() {
  static const size_t bytes = [] {
    pthread_attr_t attributes;
    void* base;
    size_t size;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &base, &size);
    pthread_attr_destroy(&attributes);
    stacks().host.base = static_cast<char*>(base);
    return size;
  }();
  return bytes;
}
#endif

}  // namespace

FiberStack* take_stack(void (*entry)()) {
  Stacks& s = stacks();
  if (!s.free.empty()) {
    FiberStack* stack = s.free.back();
    s.free.pop_back();
    return stack;
  }
  void* memory = mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, guard_bytes, PROT_NONE);
  auto* stack = new FiberStack;
  stack->base = static_cast<char*>(memory) + guard_bytes;
  prepare_context(stack->context, stack->base, stack_bytes, entry);
  s.all.push_back(stack);
  return stack;
}

void give_stack_back(FiberStack* stack) { stacks().free.push_back(stack); }

void reset_stacks(void (*entry)()) {
  Stacks& s = stacks();
  for (FiberStack* stack : s.all) {
    unpoison(stack->base, stack_bytes);
    prepare_context(stack->context, stack->base, stack_bytes, entry);
    stack->fake_stack = nullptr;
  }
  s.free = s.all;
}

FiberStack* host_stack() { return &stacks().host; }
FiberStack* running_stack() { return stacks().running; }

void jump(FiberStack* to) {
  Stacks& s = stacks();
  FiberStack* from = s.running;
  if (from == to) return;
  s.running = to;
#ifdef NSGD_EMULATION_ASAN
  const size_t host_bytes = host_stack_bytes();
  __sanitizer_start_switch_fiber(&from->fake_stack, to->base, to == &s.host ? host_bytes : stack_bytes);
#endif
  switch_context(from->context, to->context);
#ifdef NSGD_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(s.running->fake_stack, nullptr, nullptr);
#endif
}

void entered_stack() {
#ifdef NSGD_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

}  // namespace noisysgd::emulation
