#include "core/allocator.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "kernels/check.h"
#include "kernels/memory.h"

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
  Device device;
  std::mutex mutex{};
  std::multimap<size_t, std::shared_ptr<void>> cached{};
  MemoryUse use{};

  void release() {
    for (const auto& [bytes, block] : cached) use.reserved -= bytes;
    cached.clear();
  }
};

Allocator::Allocator(Device device) : pool_(std::make_shared<Pool>(device)) {}

const Device& Allocator::device() const { return pool_->device; }

std::shared_ptr<void> Allocator::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  const size_t size = block_size(bytes);
  std::lock_guard lock(pool_->mutex);
  std::shared_ptr<void> block;
  if (auto found = pool_->cached.find(size); found != pool_->cached.end()) {
    block = std::move(found->second);
    pool_->cached.erase(found);
  } else {
    block = kernels::allocate_memory(pool_->device, size);
    if (!block) {  // blocks of other sizes may be what is missing
      pool_->release();
      block = kernels::allocate_memory(pool_->device, size);
    }
    NSGD_CHECK(block,
               "{}: out of memory: {} MiB asked for, {} MiB held by live tensors; a smaller batch.micro needs less",
               pool_->device.name(), size >> 20, pool_->use.active >> 20);
    pool_->use.reserved += size;
  }
  pool_->use.active += size;
  pool_->use.peak = std::max(pool_->use.peak, pool_->use.active);
  void* pointer = block.get();
  return std::shared_ptr<void>(pointer, [pool = pool_, size, block = std::move(block)](void*) mutable {
    std::lock_guard guard(pool->mutex);
    pool->use.active -= size;
    pool->cached.emplace(size, std::move(block));
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
