// A caching allocator: freed blocks are kept by size and reused, so a steady training step requests no memory from the
// system (otherwise each step would fault in the pages of its large blocks again). On a CUDA device, blocks that live
// for one step only come from an arena, at addresses that are the same in every such step. Counters report the use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include <noisysgd/kernels/device.h>

namespace noisysgd {

struct MemoryUse {
  size_t active = 0;     // bytes held by live tensors
  size_t peak = 0;       // largest `active` since reset_peak
  size_t reserved = 0;   // active, cached and the rest of the arena
  int64_t requests = 0;  // blocks requested from the device or the system so far
};

class Allocator {
 public:
  explicit Allocator(Device device = {});

  // Device memory, at least 64-byte aligned, uninitialised; null for zero bytes. The block returns to the cache when
  // its last owner is destroyed, which may be after the allocator. Throws OutOfMemory with the sizes. A reused block
  // may still be read by ops that were issued for its previous owner: they run before the ops of the new owner, because
  // all ops are on one queue.
  std::shared_ptr<void> allocate(size_t bytes);

  // Runs `work`. No block that it allocates may outlive it, except inside a Lasting scope. On a CUDA device the blocks
  // come from the arena: within one arena_generation() the same sequence of requests gets the same addresses. A block
  // that does not fit comes from the cache, and after `work` the arena grows if there is room. Returns the size of an
  // arena that holds all blocks; 0 on the CPU. Throws Error if a block is still in use.
  size_t with_temporaries(const std::function<void()>& work);
  // To be called within `work` after an abandoned attempt: blocks released so far do not count in the arena's size.
  void forget_temporaries();
  // Scope in which allocated blocks are not temporary.
  class Lasting {
   public:
    explicit Lasting(Allocator& allocator);
    ~Lasting();
    Lasting(const Lasting&) = delete;
    Lasting& operator=(const Lasting&) = delete;

   private:
    Allocator& allocator_;
    bool temporary_;  // the value to restore
  };
  // Changes whenever the arena is reallocated, which changes its addresses.
  uint64_t arena_generation() const;
  size_t arena_bytes() const;

  MemoryUse use() const;
  void reset_peak();
  void release_cached();

 private:
  struct Pool;
  struct Allocation;
  std::shared_ptr<Pool> pool_;
};

}  // namespace noisysgd
