// Offsets for blocks of memory in one address range: best fit, and adjacent gaps are merged. From an empty plan the
// same sequence of requests gets the same offsets.
#pragma once

#include <cstddef>
#include <map>

namespace noisysgd {

class ArenaPlan {
  using Sizes = std::map<size_t, size_t>;  // by offset

 public:
  // A block in use: key() is its offset, mapped() its size. On release the same map node becomes the gap. Release,
  // which destructors call, therefore allocates no memory and cannot fail.
  using Block = Sizes::node_type;

  Block allocate(size_t bytes);        // bytes >= 1
  void release(Block block) noexcept;  // a block of this plan, or an empty one

  bool empty() const { return blocks_ == 0; }
  size_t needed() const { return needed_; }  // bytes that hold all blocks since the latest forget()
  void forget() { needed_ = end_; }          // needed() restarts from the blocks in use

 private:
  Sizes gaps_;         // all end before end_
  size_t blocks_ = 0;  // in use
  size_t end_ = 0, needed_ = 0;
};

}  // namespace noisysgd
