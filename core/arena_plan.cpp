#include "core/arena_plan.h"

#include <algorithm>
#include <iterator>

#include "kernels/check.h"

namespace noisysgd {

size_t ArenaPlan::allocate(size_t bytes) {
  auto best = gaps_.end();
  for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap)
    if (gap->second >= bytes && (best == gaps_.end() || gap->second < best->second)) best = gap;
  size_t offset = end_;
  if (best == gaps_.end()) {
    end_ += bytes;
    needed_ = std::max(needed_, end_);
  } else {
    offset = best->first;
    const size_t rest = best->second - bytes;
    gaps_.erase(best);
    if (rest > 0) gaps_[offset + bytes] = rest;
  }
  used_[offset] = bytes;
  return offset;
}

void ArenaPlan::release(size_t offset) {
  const auto block = used_.find(offset);
  NSGD_CHECK(block != used_.end(), "arena: no block at offset {} is to be released", offset);
  size_t bytes = block->second;
  used_.erase(block);
  auto next = gaps_.lower_bound(offset);
  if (next != gaps_.end() && next->first == offset + bytes) {
    bytes += next->second;
    next = gaps_.erase(next);
  }
  if (next != gaps_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == offset) {
      offset = previous->first;
      bytes += previous->second;
      gaps_.erase(previous);
    }
  }
  if (offset + bytes == end_)
    end_ = offset;
  else
    gaps_[offset] = bytes;
}

}  // namespace noisysgd
