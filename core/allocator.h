// A caching allocator: freed blocks are kept by size and handed out again, so a steady training step asks the system
// for nothing (fresh pages of a large batch would otherwise be faulted in anew each step). On a CUDA device what lives
// for one step alone comes from an arena instead, at addresses that are the same in every such step. Counters say what
// is and was in use.
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
  int64_t requests = 0;  // blocks that were asked of the device or the system so far
};

class Allocator {
 public:
  explicit Allocator(Device device = {});

  // Memory of the device, at least 64-byte aligned, uninitialised; zero bytes give a null pointer. Returned to the
  // cache when the last owner lets go, which may be after the allocator itself is gone. Throws OutOfMemory with the
  // sizes when memory is out. A block that is handed out again may still be read by ops that were issued for its last
  // owner: they run before those of the next one, as all are on one queue.
  std::shared_ptr<void> allocate(size_t bytes);

  // Runs `work`, of whose blocks none may outlive it unless a Lasting stands by. On a CUDA device they come from the
  // arena: the same sequence of requests gets the same addresses, whatever happened between. Where the arena is too
  // small the cache helps out, and when `work` is done the arena grows if there is room. Returns how large an arena
  // holds them all. Throws Error if a block is left over.
  size_t with_temporaries(const std::function<void()>& work);
  // Within `work`: what has been released was of an attempt that was given up, and the arena need not hold it.
  void forget_temporaries();
  // Blocks that are allocated while this lives are not temporary.
  class Lasting {
   public:
    explicit Lasting(Allocator& allocator);
    ~Lasting();
    Lasting(const Lasting&) = delete;
    Lasting& operator=(const Lasting&) = delete;

   private:
    Allocator& allocator_;
    bool temporary_;  // as it was
  };
  // Changes when the arena moves: addresses before and after are not the same.
  uint64_t arena_generation() const;
  size_t arena_bytes() const;

  MemoryUse use() const;
  void reset_peak();
  void release_cached();

 private:
  struct Pool;
  struct Lent;
  std::shared_ptr<Pool> pool_;
};

}  // namespace noisysgd
