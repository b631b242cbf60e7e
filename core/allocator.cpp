#include <noisysgd/core/allocator.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include <noisysgd/core/arena_plan.h>
#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/memory.h>

namespace noisysgd {

namespace {

constexpr size_t alignment = 64;
constexpr size_t arena_alignment = 256;  // CUDA's own

// Rounds small blocks to multiples of 64 bytes and large ones to eighths of their leading power of two. Batches of
// slightly different size can then share blocks, and at most 1/8 is wasted.
size_t block_size(size_t bytes) {
  size_t granule = alignment;
  while (granule * 16 < bytes) granule *= 2;
  return (bytes + granule - 1) / granule * granule;
}

std::string memory_text(size_t bytes) {
  return bytes >> 20 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} bytes", bytes);
}

}  // namespace

struct Allocator::Pool {
  explicit Pool(Device device) : device(device) {}

  Device device;
  std::mutex mutex;
  using Cache = std::multimap<size_t, std::shared_ptr<void>>;  // free blocks by size
  Cache cached;
  MemoryUse use;

  bool temporary = false;  // inside with_temporaries and outside a Lasting scope
  ArenaPlan plan;          // of all temporaries, including those that do not fit into the arena
  std::shared_ptr<void> arena;
  size_t arena_bytes = 0, refused_bytes = SIZE_MAX;  // refused_bytes: the arena size that could not be allocated
  uint64_t arena_generation = 0;

  void release() {
    for (const auto& [bytes, block] : cached) use.reserved -= bytes;
    cached.clear();
  }

  std::shared_ptr<void> request(size_t bytes) {
    ++use.requests;
    return kernels::allocate_memory(device, bytes);
  }

  // A block of exactly this size, from the cache or the device. It is returned as a cache node: putting the node back
  // into the cache allocates no memory, so release cannot fail.
  Cache::node_type take(size_t size) {
    if (const auto found = cached.find(size); found != cached.end()) return cached.extract(found);
    Cache own;
    const auto entry = own.emplace(size, nullptr);
    std::shared_ptr<void>& block = entry->second;
    block = request(size);
    if (!block) {  // cached blocks of other sizes may hold the memory
      release();
      block = request(size);
    }
    if (!block)
      throw OutOfMemory(
          fmt::format("{}: out of memory: {} asked for, {} held by live tensors; a smaller batch.micro needs less",
                      device.name(), memory_text(size), memory_text(use.active)));
    use.reserved += size;
    return own.extract(entry);
  }

  // Grows the arena to the size that the latest temporaries needed. Each size is tried once; without room for it the
  // arena keeps its size.
  void grow_arena() {
    if (plan.needed() <= arena_bytes || plan.needed() >= refused_bytes) return;
    const size_t before = arena_bytes;
    release();
    if (!replace_arena(plan.needed())) {
      refused_bytes = plan.needed();
      replace_arena(before);
    }
  }

  bool replace_arena(size_t bytes) {
    arena.reset();  // first, because there may be no room for both arenas
    use.reserved -= arena_bytes;
    arena_bytes = 0;
    ++arena_generation;
    if (bytes > 0) arena = request(bytes);
    if (!arena) return false;
    arena_bytes = bytes;
    use.reserved += arena_bytes;
    return true;
  }

  void count(size_t bytes) {
    use.active += bytes;
    use.peak = std::max(use.peak, use.active);
  }
};

// Memory in use. The destructor returns it to the pool; it allocates no memory and cannot fail.
struct Allocator::Allocation {
  explicit Allocation(std::shared_ptr<Pool> from) : pool(std::move(from)) {}
  ~Allocation() {
    const std::lock_guard guard(pool->mutex);
    pool->use.active -= size;
    pool->plan.release(std::move(planned));
    pool->cached.insert(std::move(block));
  }
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  std::shared_ptr<Pool> pool;
  size_t size = 0;               // counted as active
  Pool::Cache::node_type block;  // empty if the memory is in the arena
  ArenaPlan::Block planned;      // for temporaries: the offset in the plan
};

Allocator::Allocator(Device device) : pool_(std::make_shared<Pool>(device)) {}

std::shared_ptr<void> Allocator::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  // Declared before the lock and so destroyed after its release: the destructor takes the lock, also if `take` throws.
  const auto allocation = std::make_shared<Allocation>(pool_);
  const std::lock_guard lock(pool_->mutex);
  size_t size = block_size(bytes);
  void* pointer = nullptr;
  if (pool_->temporary) {
    size = (bytes + arena_alignment - 1) / arena_alignment * arena_alignment;
    allocation->planned = pool_->plan.allocate(size);
    const size_t offset = allocation->planned.key();
    if (offset + size <= pool_->arena_bytes) pointer = static_cast<std::byte*>(pool_->arena.get()) + offset;
  }
  if (!pointer) {
    allocation->block = pool_->take(size);
    pointer = allocation->block.mapped().get();
  }
  pool_->count(size);
  allocation->size = size;
  return {allocation, pointer};
}

size_t Allocator::with_temporaries(const std::function<void()>& work) {
  if (pool_->device.backend == Backend::cpu) {
    work();
    return 0;
  }
  NSGD_CHECK(!pool_->temporary, "allocator: with_temporaries is called inside with_temporaries");
  pool_->plan.forget();
  pool_->temporary = true;
  try {
    work();
  } catch (...) {
    pool_->temporary = false;
    throw;
  }
  pool_->temporary = false;
  NSGD_CHECK(pool_->plan.empty(), "allocator: a tensor that was allocated as temporary has outlived its step");
  std::lock_guard lock(pool_->mutex);
  pool_->grow_arena();
  return pool_->plan.needed();
}

void Allocator::forget_temporaries() {
  std::lock_guard lock(pool_->mutex);
  pool_->plan.forget();
}

Allocator::Lasting::Lasting(Allocator& allocator)
    : allocator_(allocator), temporary_(std::exchange(allocator.pool_->temporary, false)) {}
Allocator::Lasting::~Lasting() { allocator_.pool_->temporary = temporary_; }

uint64_t Allocator::arena_generation() const { return pool_->arena_generation; }
size_t Allocator::arena_bytes() const { return pool_->arena_bytes; }

MemoryUse Allocator::use() const {
  std::lock_guard lock(pool_->mutex);
  return pool_->use;
}

void Allocator::reset_peak() {
  std::lock_guard lock(pool_->mutex);
  pool_->use.peak = pool_->use.active;
}

void Allocator::release_cached() {
  std::lock_guard lock(pool_->mutex);
  pool_->release();
}

}  // namespace noisysgd
