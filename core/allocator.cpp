#include "core/allocator.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "kernels/check.h"

namespace noisysgd {

namespace {

constexpr size_t alignment = 64;

// Multiples of 64 bytes for small blocks; for large ones eighths of the leading power of two, so that batches of
// slightly different size share blocks while at most 1/8 is wasted.
size_t block_size(size_t bytes) {
  size_t granule = alignment;
  while (granule * 16 < bytes) granule *= 2;
  return (bytes + granule - 1) / granule * granule;
}

}  // namespace

struct Allocator::Pool {
  std::mutex mutex;
  std::multimap<size_t, void*> cached;
  MemoryUse use;

  ~Pool() { release(); }

  void release() {
    for (const auto& [bytes, pointer] : cached) {
      std::free(pointer);
      use.reserved -= bytes;
    }
    cached.clear();
  }
};

Allocator::Allocator(Device device) : pool_(std::make_shared<Pool>()) {
  NSGD_CHECK(device.backend == Backend::cpu, "allocator: this build has no memory on device {}", device.name());
}

std::shared_ptr<void> Allocator::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  const size_t size = block_size(bytes);
  std::lock_guard lock(pool_->mutex);
  void* pointer = nullptr;
  if (auto found = pool_->cached.find(size); found != pool_->cached.end()) {
    pointer = found->second;
    pool_->cached.erase(found);
  } else {
    pointer = std::aligned_alloc(alignment, size);
    if (!pointer) {  // blocks of other sizes may be what is missing
      pool_->release();
      pointer = std::aligned_alloc(alignment, size);
    }
    NSGD_CHECK(pointer,
               "out of memory: {} MiB asked for, {} MiB held by live tensors; a smaller batch.micro needs less",
               size >> 20, pool_->use.active >> 20);
    pool_->use.reserved += size;
  }
  pool_->use.active += size;
  pool_->use.peak = std::max(pool_->use.peak, pool_->use.active);
  return std::shared_ptr<void>(pointer, [pool = pool_, size](void* block) {
    std::lock_guard guard(pool->mutex);
    pool->use.active -= size;
    pool->cached.emplace(size, block);
  });
}

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
