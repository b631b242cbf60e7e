// Places for blocks of memory in one range of addresses: the smallest gap that fits, and freed neighbours are joined.
// The same sequence of requests from an empty plan gets the same places.
#pragma once

#include <cstddef>
#include <map>

namespace noisysgd {

class ArenaPlan {
  using Sizes = std::map<size_t, size_t>;  // by offset

 public:
  // A block in use: key() is its offset, mapped() its size. It is the node that becomes the gap, so that giving it
  // back, which destructors do, asks for no memory and cannot fail.
  using Block = Sizes::node_type;

  Block allocate(size_t bytes);        // of at least 1 byte
  void release(Block block) noexcept;  // of this plan, or empty

  bool empty() const { return blocks_ == 0; }
  size_t needed() const { return needed_; }  // the range that holds all that was placed since the latest `forget`
  void forget() { needed_ = end_; }          // what has been released

 private:
  Sizes gaps_;         // they end below end_
  size_t blocks_ = 0;  // in use
  size_t end_ = 0, needed_ = 0;
};

}  // namespace noisysgd
