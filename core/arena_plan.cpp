#include <noisysgd/core/arena_plan.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace noisysgd {

ArenaPlan::Block ArenaPlan::allocate(size_t bytes) {
  auto best = gaps_.end();
  for (auto gap = gaps_.begin(); gap != gaps_.end(); ++gap)
    if (gap->second >= bytes && (best == gaps_.end() || gap->second < best->second)) best = gap;
  Block block;
  if (best != gaps_.end() && best->second == bytes) {
    block = gaps_.extract(best);
  } else {
    const bool grows = best == gaps_.end();
    Sizes own;
    own.emplace(grows ? end_ : best->first, bytes);  // the only allocation: if it fails, nothing has changed
    block = own.extract(own.begin());
    if (grows) {
      end_ += bytes;
      needed_ = std::max(needed_, end_);
    } else {
      Block gap = gaps_.extract(best);
      gap.key() += bytes;
      gap.mapped() -= bytes;
      gaps_.insert(std::move(gap));
    }
  }
  ++blocks_;
  return block;
}

void ArenaPlan::release(Block block) noexcept {
  if (block.empty()) return;
  --blocks_;
  size_t &offset = block.key(), &bytes = block.mapped();
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
    gaps_.insert(std::move(block));
}

}  // namespace noisysgd
