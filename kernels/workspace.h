// The memory behind a queue's scratch (kernels/scratch.h): a stack that grows to the most that was taken at once and
// stays. What is taken never moves. What does not fit beside it gets a block of its own, and the blocks become one when
// nothing is taken any more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace noisysgd::kernels {

class Queue;

class Workspace {
 public:
  explicit Workspace(Queue& queue) : queue_(queue) {}

  size_t bytes() const;  // held on the device
  // Changes when memory is given back to the device: graphs that were recorded before must not be launched any more.
  uint64_t generation() const { return generation_; }
  // The most that was taken at once since measure(), whether it is still held or not.
  void measure() { needed_ = used_; }
  size_t needed() const { return needed_; }

  static constexpr size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }

 private:
  friend class Scratch;
  struct Place {
    int depth;                   // of nested scopes
    size_t block, offset, used;  // used: in all blocks
  };
  Place open();
  std::byte* take(const Place& scope, size_t bytes);
  void close(const Place& scope) noexcept;

  struct Block {
    std::shared_ptr<void> memory;
    size_t bytes, used;
  };
  void grow(size_t bytes);
  void join() noexcept;

  Queue& queue_;
  std::vector<Block> blocks_;  // the last one is taken from
  int depth_ = 0;
  size_t used_ = 0, most_ = 0;  // most: since nothing was taken
  size_t needed_ = 0;
  uint64_t generation_ = 0;
};

}  // namespace noisysgd::kernels
