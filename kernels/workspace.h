// The memory that a queue's scratch pieces (kernels/scratch.h) come from: a stack that grows to the largest amount used
// at once and keeps that size. Pieces never move: a piece that does not fit gets a new block. The blocks are merged
// into one when no piece is in use.
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
  // Changes when memory is given back to the device. Graphs recorded before the change must not be launched again.
  uint64_t generation() const { return generation_; }
  // The largest number of bytes in use at once since measure(), whether still held or not.
  void measure() { needed_ = used_; }
  size_t needed() const { return needed_; }

  static constexpr size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }

 private:
  friend class Scratch;
  struct Mark {
    int depth;                   // of nested scopes
    size_t block, offset, used;  // used: in all blocks
  };
  Mark open();
  std::byte* take(const Mark& scope, size_t bytes);
  void close(const Mark& scope) noexcept;

  struct Block {
    std::shared_ptr<void> memory;
    size_t bytes, used;
  };
  void grow(size_t bytes);
  void join() noexcept;

  Queue& queue_;
  std::vector<Block> blocks_;  // pieces come from the last one
  int depth_ = 0;
  size_t used_ = 0, most_ = 0;  // most_: largest used_ since it was last 0
  size_t needed_ = 0;
  uint64_t generation_ = 0;
};

}  // namespace noisysgd::kernels
