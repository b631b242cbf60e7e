#include <noisysgd/core/arena_plan.h>

#include <algorithm>
#include <iterator>

#include <noisysgd/kernels/check.h>

namespace noisysgd {

size_t ArenaPlan::allocate(size_t bytes) {
  auto best = gaps_.end();
  for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap)
    if (gap->second >= bytes && (best == gaps_.end() || gap->second < best->second)) best = gap;
  const bool grows = best == gaps_.end();
  const size_t offset = grows ? end_ : best->first;
  used_[offset] = bytes;  // the one request for memory: nothing has changed if it fails
  if (grows) {
    end_ += bytes;
    needed_ = std::max(needed_, end_);
  } else if (best->second == bytes) {
    gaps_.erase(best);
  } else {
    auto gap = gaps_.extract(best);
    gap.key() += bytes;
    gap.mapped() -= bytes;
    gaps_.insert(std::move(gap));
  }
  return offset;
}

void ArenaPlan::release(size_t offset) {
  const auto block = used_.find(offset);
  NSGD_CHECK(block != used_.end(), "arena: no block at offset {} is to be released", offset);
  size_t bytes = block->second;
  auto node = used_.extract(block);  // becomes the gap: a release asks for no memory
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
  if (offset + bytes == end_) {
    end_ = offset;
    return;
  }
  node.key() = offset;
  node.mapped() = bytes;
  gaps_.insert(std::move(node));
}

}  // namespace noisysgd
