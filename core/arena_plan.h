// Places for blocks of memory in one range of addresses: the smallest gap that fits, and freed neighbours are joined.
// The same sequence of requests from an empty plan gets the same places.
#pragma once

#include <cstddef>
#include <map>

namespace noisysgd {

class ArenaPlan {
 public:
  size_t allocate(size_t bytes);  // the block's offset
  void release(size_t offset);

  bool empty() const { return used_.empty(); }
  size_t needed() const { return needed_; }  // the range that holds all that was placed since the latest `forget`
  void forget() { needed_ = end_; }          // what has been released

 private:
  std::map<size_t, size_t> used_, gaps_;  // sizes by offset; gaps end below end_
  size_t end_ = 0, needed_ = 0;
};

}  // namespace noisysgd
