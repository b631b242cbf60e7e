#include <noisysgd/kernels/emulation/scheduler.h>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string_view>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/emulation/async_copy.h>
#include <noisysgd/kernels/emulation/device_memory.h>
#include <noisysgd/kernels/emulation/emulated_device.h>
#include <noisysgd/kernels/emulation/fiber_stack.h>
#include <noisysgd/kernels/emulation/launches.h>
#include <noisysgd/kernels/emulation/race_checker.h>
#include <noisysgd/kernels/emulation/stream.h>
#include <noisysgd/kernels/emulation/traffic.h>
#include <noisysgd/kernels/emulation/warpgroup_products.h>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace noisysgd::emulation {

namespace {

constexpr int max_block_threads = 1024;

struct Thread {
  FiberStack* stack = nullptr;  // null before its first run and after its last
  uint3 id{};
  int index = 0;
  bool done = false;
  const char *operation = nullptr, *file = nullptr;  // the operation that it waits in, and its source line
  int line = 0;
  unsigned mask = 0;
  void* argument = nullptr;
  AsyncCopies copies;
  WarpgroupProducts products;
};

struct SharedVariable {
  const void* key;
  char* memory;
  size_t bytes;
  bool used_by_block;
};

struct Scheduler {
  std::vector<Thread> threads = std::vector<Thread>(max_block_threads);
  std::array<int, max_block_threads> runnable{};  // a ring; each thread is in it at most once
  int head = 0, count = 0;
  std::vector<int> at_barrier;
  unsigned waiting[32] = {}, exited[32] = {};  // lanes of each warp that are in a collective, and that have ended
  int block_threads = 0, alive = 0;
  Thread* current = nullptr;
  void (*entry)(void*) = nullptr;
  void* argument = nullptr;
  void* dynamic_shared = nullptr;
  size_t dynamic_shared_bytes = 0;
  std::vector<SharedVariable> shared_variables;
  bool failed = false;
  unsigned random_state = 1;
  const void* kernel = nullptr;
  std::set<const void*> launched;

  void push(int thread) { runnable[static_cast<size_t>((head + count++) % max_block_threads)] = thread; }
};
Scheduler& scheduler() {
  static Scheduler& instance = *new Scheduler;  // never destroyed: launches may come from destructors of statics
  return instance;
}

// Messages are formatted without the heap, because memory that an abandoned fiber owns is never freed.
char failure_text[2048];

struct ThreadName {
  char text[48];
};
ThreadName name_of(const Thread& thread) {
  ThreadName name;
  std::snprintf(name.text, sizeof name.text, "thread (%u,%u,%u)", thread.id.x, thread.id.y, thread.id.z);
  return name;
}

// Abandons the block, from one of its fibers.
[[noreturn]] __attribute__((format(printf, 1, 2))) void stop(const char* format, ...) {
  Scheduler& s = scheduler();
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(failure_text, sizeof failure_text - 100, format, arguments);
  va_end(arguments);
  const size_t length = std::strlen(failure_text);
  std::snprintf(failure_text + length, sizeof failure_text - length, " [block (%u,%u,%u)]", blockIdx.x, blockIdx.y,
                blockIdx.z);
  s.failed = true;
  jump(host_stack());
  __builtin_unreachable();
}

[[noreturn]] void report_deadlock() {
  Scheduler& s = scheduler();
  char text[900] = "";
  size_t length = 0;
  int shown = 0;
  for (int i = 0; i < s.block_threads && shown < 3; ++i) {
    const Thread& t = s.threads[static_cast<size_t>(i)];
    if (t.done || !t.operation) continue;
    length += static_cast<size_t>(std::snprintf(text + length, sizeof text - length,
                                                "%s waits in %s at %.150s:%d (mask %08x); ", name_of(t).text,
                                                t.operation, t.file, t.line, t.mask));
    ++shown;
  }
  stop("deadlock: %s%d threads alive", text, s.alive);
}

[[noreturn]] void report_missed_barrier(const Thread& gone, const Thread& waiting) {
  stop("%s exited without reaching %s at %s:%d, where others wait", name_of(gone).text, waiting.operation, waiting.file,
       waiting.line);
}

void thread_main();

void enter(Thread& thread) {
  scheduler().current = &thread;
  threadIdx = thread.id;
  race::set_thread(thread.index);
}

unsigned random_word(unsigned& state) {
  state ^= state << 13;
  state ^= state >> 17;
  return state ^= state << 5;
}

// Switches to the next runnable thread. `ended`: the caller's thread has ended, so its stack is free for the next one.
void dispatch(bool ended) {
  Scheduler& s = scheduler();
  if (s.count == 0) {
    if (s.alive > 0) report_deadlock();
    give_stack_back(running_stack());
    jump(host_stack());
    return;
  }
  const auto slot = [&](unsigned place) -> int& {
    return s.runnable[(static_cast<unsigned>(s.head) + place) % max_block_threads];
  };
  if (options().order == Options::Order::lifo) std::swap(slot(static_cast<unsigned>(s.count) - 1), slot(0));
  if (options().order == Options::Order::random) {
    std::swap(slot(random_word(s.random_state) % static_cast<unsigned>(s.count)), slot(0));
  }
  Thread& next = s.threads[static_cast<size_t>(slot(0))];
  s.head = (s.head + 1) % max_block_threads;
  --s.count;
  if (!next.stack && ended) {
    next.stack = running_stack();
    enter(next);
    return;
  }
  if (ended) give_stack_back(running_stack());
  if (!next.stack) next.stack = take_stack(thread_main);
  enter(next);
  jump(next.stack);
}

// Runs one thread after another on the same stack.
void thread_main() {
  entered_stack();
  Scheduler& s = scheduler();
  for (;;) {
    s.entry(s.argument);
    Thread& thread = *s.current;
    if (thread.copies.pending()) {
      stop("%s ended with cp.async copies that it never waited for (issued at %s:%d)", name_of(thread).text,
           thread.copies.file(), thread.copies.line());
    }
    if (thread.products.pending()) {
      stop("%s ended with wgmma products that it never waited for", name_of(thread).text);
    }
    thread.done = true;
    thread.operation = nullptr;
    thread.stack = nullptr;
    s.exited[thread.index / 32] |= 1u << (thread.index % 32);
    --s.alive;
    if (!s.at_barrier.empty() && static_cast<int>(s.at_barrier.size()) == s.alive) {
      report_missed_barrier(thread, s.threads[static_cast<size_t>(s.at_barrier[0])]);
    }
    dispatch(true);
  }
}

void push_in_order(const std::vector<int>& threads) {
  const bool reverse = options().order == Options::Order::reverse;
  for (size_t i = 0; i < threads.size(); ++i) scheduler().push(threads[reverse ? threads.size() - 1 - i : i]);
}

void free_shared_variables() {
  for (const SharedVariable& variable : scheduler().shared_variables) std::free(variable.memory);
  scheduler().shared_variables.clear();
}

void* allocate_shared(size_t bytes, size_t alignment) {
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0) throw std::bad_alloc();
  return memory;
}

void start_block(dim3 block) {
  Scheduler& s = scheduler();
  const int n = s.block_threads;
  s.alive = n;
  s.head = s.count = 0;
  for (int warp = 0; warp < 32; ++warp) {
    const int lanes = n - warp * 32;
    s.waiting[warp] = 0;
    s.exited[warp] = lanes >= 32 ? 0 : lanes <= 0 ? ~0u : ~0u << lanes;
  }
  const bool reverse = options().order == Options::Order::reverse;
  for (int i = 0; i < n; ++i) {
    Thread& t = s.threads[static_cast<size_t>(i)];
    const unsigned index = static_cast<unsigned>(i);
    t.index = i;
    t.done = false;
    t.stack = nullptr;
    t.operation = nullptr;
    t.products.clear();
    t.id = {index % block.x, index / block.x % block.y, index / (block.x * block.y)};
    s.push(reverse ? n - 1 - i : i);
  }
}

void reset_after_failure() {
  Scheduler& s = scheduler();
  reset_stacks(thread_main);
  s.head = s.count = 0;
  s.at_barrier.clear();
  for (Thread& thread : s.threads) {
    thread.stack = nullptr;
    thread.copies.clear();
  }
}

// The block that runs at place i.
size_t block_at(size_t i, size_t blocks) {
  constexpr size_t prime = 2654435761;  // more than a grid's blocks, so every block has one place
  if (options().order == Options::Order::reverse) return blocks - 1 - i;
  if (options().order == Options::Order::random) return (i * prime + options().seed) % blocks;
  return i;
}

const char* kernel_name(const void* kernel) {
  const char* name = "?";
  cudaFuncGetName(&name, kernel);
  return name;
}

}  // namespace

Options& options() {
  static Options instance = [] {
    Options read;
    const auto text = [](const char* name) {
      const char* value = std::getenv(name);
      return std::string_view(value ? value : "");
    };
    const std::string_view order = text("NSGD_EMULATION_ORDER");
    if (order == "reverse") read.order = Options::Order::reverse;
    if (order == "lifo") read.order = Options::Order::lifo;
    if (order == "random") read.order = Options::Order::random;
    if (const char* seed = std::getenv("NSGD_EMULATION_SEED")) read.seed = static_cast<unsigned>(std::atoi(seed));
    read.deferred = text("NSGD_EMULATION_DEFERRED") == "1";
    return read;
  }();
  return instance;
}

cudaError_t check_launch(dim3 grid, dim3 block, size_t shared_bytes) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) {
    return cudaErrorInvalidConfiguration;
  }
  if (block.x == 0 || block.y == 0 || block.z == 0 || block.z > 64 ||
      size_t(block.x) * block.y * block.z > max_block_threads) {
    return cudaErrorInvalidConfiguration;
  }
  if (no_room_to_launch()) return cudaErrorMemoryAllocation;
  return shared_bytes > emulated_device().block_shared_bytes ? cudaErrorInvalidValue : cudaSuccess;
}

void check_kernel_argument(const void* pointer, const void* kernel) {
  NSGD_CHECK(!pointer || is_device_pointer(pointer), "{}: an argument is not a device pointer", kernel_name(kernel));
}

std::vector<std::string> launched_kernels() {
  std::vector<std::string> names;
  for (const void* kernel : scheduler().launched) names.emplace_back(kernel_name(kernel));
  return names;
}

void run_grid(dim3 grid, dim3 block, size_t shared_bytes, void (*entry)(void*), void* argument, const void* kernel) {
  Scheduler& s = scheduler();
  NSGD_CHECK(!s.current, "{}: launched from a kernel", kernel_name(kernel));
  s.launched.insert(kernel);
  count_launch(kernel);
  gridDim = grid;
  blockDim = block;
  s.entry = entry;
  s.argument = argument;
  s.kernel = kernel;
  s.block_threads = static_cast<int>(block.x * block.y * block.z);
  s.dynamic_shared_bytes = shared_bytes;
  s.failed = false;
  s.random_state = options().seed * 2654435761u | 1u;
  race::begin_grid(s.block_threads);
  begin_traffic();
  const size_t blocks = size_t(grid.x) * grid.y * grid.z;
  for (size_t i = 0; i < blocks && !s.failed; ++i) {
    const size_t b = block_at(i, blocks);
    blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                static_cast<unsigned>(b / (size_t(grid.x) * grid.y))};
    race::begin_block(b);
    if (shared_bytes > 0) {
      s.dynamic_shared = allocate_shared(shared_bytes, 128);
      std::memset(s.dynamic_shared, 0xff, shared_bytes);
      race::add_shared(s.dynamic_shared, shared_bytes);
    }
    for (SharedVariable& variable : s.shared_variables) variable.used_by_block = false;
    start_block(block);
    dispatch(false);  // back when the block has ended or failed
    s.current = nullptr;
    race::end_block();
    std::free(s.dynamic_shared);
    s.dynamic_shared = nullptr;
  }
  free_shared_variables();
  if (s.failed) reset_after_failure();
  end_traffic(kernel);
  const std::string race_report = race::end_grid();
  NSGD_CHECK(!s.failed, "{}: {}", kernel_name(kernel), failure_text);
  NSGD_CHECK(race_report.empty(), "{}: {}", kernel_name(kernel), race_report);
  device_seconds() += emulated_device().kernel_seconds;
}

void fail(const char* what, const char* file, int line) {
  const Scheduler& s = scheduler();
  if (!s.current) throw Error(fmt::format("{} at {}:{}", what, file, line));
  stop("%s: %s at %s:%d", name_of(*s.current).text, what, file, line);
}

unsigned lane() { return static_cast<unsigned>(scheduler().current->index) % 32; }

void* dynamic_shared() { return scheduler().dynamic_shared; }
size_t dynamic_shared_bytes() { return scheduler().dynamic_shared_bytes; }

void* shared_variable(const void* key, size_t bytes, size_t alignment) {
  Scheduler& s = scheduler();
  SharedVariable* variable = nullptr;
  for (SharedVariable& candidate : s.shared_variables) {
    if (candidate.key == key) variable = &candidate;
  }
  if (!variable) {
    s.shared_variables.push_back({key, static_cast<char*>(allocate_shared(bytes, alignment)), bytes, false});
    variable = &s.shared_variables.back();
  }
  if (!variable->used_by_block) {
    variable->used_by_block = true;
    std::memset(variable->memory, 0xff, bytes);
    race::add_shared(variable->memory, bytes);
  }
  return variable->memory;
}

void block_barrier(const char* operation, const char* file, int line, BlockMeeting meet, void* argument) {
  Scheduler& s = scheduler();
  NSGD_CHECK(s.current, "{}:{}: {} outside a kernel", file, line, operation);
  Thread& thread = *s.current;
  thread.operation = operation;
  thread.file = file;
  thread.line = line;
  thread.argument = argument;
  thread.mask = 0;
  if (!s.at_barrier.empty()) {
    const Thread& other = s.threads[static_cast<size_t>(s.at_barrier[0])];
    if (other.line != line || other.operation != operation || std::strcmp(other.file, file) != 0) {
      stop("divergent barrier: %s waits in %s at %s:%d, %s reached %s at %s:%d", name_of(other).text, other.operation,
           other.file, other.line, name_of(thread).text, operation, file, line);
    }
  }
  s.at_barrier.push_back(thread.index);
  if (static_cast<int>(s.at_barrier.size()) == s.alive) {
    for (int i = 0; i < s.block_threads; ++i) {
      const Thread& other = s.threads[static_cast<size_t>(i)];
      if (other.done) report_missed_barrier(other, thread);
    }
    if (meet) {
      std::vector<void*> arguments;
      for (int i : s.at_barrier) arguments.push_back(s.threads[static_cast<size_t>(i)].argument);
      meet(arguments.data(), static_cast<int>(arguments.size()));
    }
    race::synchronize_block();
    push_in_order(s.at_barrier);
    s.at_barrier.clear();
  }
  dispatch(false);
}

void warp_collective(unsigned mask, const char* operation, WarpMeeting meet, void* argument, const char* file,
                     int line) {
  Scheduler& s = scheduler();
  NSGD_CHECK(s.current, "{}:{}: {} outside a kernel", file, line, operation);
  Thread& thread = *s.current;
  const int warp = thread.index / 32, own_lane = thread.index % 32;
  thread.operation = operation;
  thread.file = file;
  thread.line = line;
  thread.argument = argument;
  thread.mask = mask;
  if (!(mask >> own_lane & 1)) {
    stop("%s calls %s at %s:%d with a mask that lacks its own lane", name_of(thread).text, operation, file, line);
  }
  if (s.exited[warp] & mask) {
    stop("%s at %s:%d: the mask %08x names lanes that have exited or do not exist", operation, file, line, mask);
  }
  s.waiting[warp] |= 1u << own_lane;
  if ((s.waiting[warp] & mask) == mask) {
    void* arguments[32] = {};
    for (int i = 0; i < 32; ++i) {
      if (!(mask >> i & 1)) continue;
      const Thread& other = s.threads[static_cast<size_t>(warp * 32 + i)];
      if (other.mask != mask || other.line != line || other.operation != operation) {
        stop("divergent warp: %s in %s at %s:%d, %s in %s at %s:%d", name_of(other).text, other.operation, other.file,
             other.line, name_of(thread).text, operation, file, line);
      }
      arguments[i] = other.argument;
    }
    if (meet) meet(arguments, mask);
    race::synchronize_warp(warp, mask);
    s.waiting[warp] &= ~mask;
    const bool reverse = options().order == Options::Order::reverse;
    for (int k = 0; k < 32; ++k) {
      const int i = reverse ? 31 - k : k;
      if (mask >> i & 1) s.push(warp * 32 + i);
    }
  }
  dispatch(false);
}

void async_copy(void* to, const void* from, size_t bytes, size_t zero_fill, const char* file, int line) {
  scheduler().current->copies.issue(to, from, bytes, zero_fill, file, line);
}
void async_commit() { scheduler().current->copies.commit(); }
void async_wait(size_t groups_left) { scheduler().current->copies.wait(groups_left); }

WarpgroupProducts& warpgroup_products() { return scheduler().current->products; }

}  // namespace noisysgd::emulation
