// A caching allocator: freed blocks are kept by size and handed out again, so a steady training step asks the system
// for nothing (fresh pages of a large batch would otherwise be faulted in anew each step). Counters say what is and was
// in use.
#pragma once

#include <cstddef>
#include <memory>

#include "kernels/device.h"

namespace noisysgd {

struct MemoryUse {
  size_t active = 0;    // bytes held by live tensors
  size_t peak = 0;      // largest `active` since reset_peak
  size_t reserved = 0;  // active and cached
};

class Allocator {
 public:
  explicit Allocator(Device device = {});

  const Device& device() const;

  // Memory of the device, at least 64-byte aligned, uninitialised; zero bytes give a null pointer. Returned to the
  // cache when the last owner lets go, which may be after the allocator itself is gone. Throws Error with the sizes
  // when memory is out. A block that is handed out again may still be read by ops that were issued for its last owner:
  // they run before those of the next one, as all are on one queue.
  std::shared_ptr<void> allocate(size_t bytes);

  MemoryUse use() const;
  void reset_peak();
  void release_cached();

 private:
  struct Pool;
  std::shared_ptr<Pool> pool_;
};

}  // namespace noisysgd
