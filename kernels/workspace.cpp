#include <noisysgd/kernels/workspace.h>

#include <fmt/format.h>

#include <algorithm>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels {

size_t Workspace::bytes() const {
  size_t sum = 0;
  for (const Block& block : blocks_) sum += block.bytes;
  return sum;
}

Workspace::Mark Workspace::open() {
  ++depth_;
  if (blocks_.empty()) return {depth_, 0, 0, used_};
  return {depth_, blocks_.size() - 1, blocks_.back().used, used_};
}

std::byte* Workspace::take(const Mark& scope, size_t bytes) {
  NSGD_CHECK(scope.depth == depth_,
             "queue on {}: scratch memory is taken from an outer Scratch while an inner one exists",
             queue_.device().name());
  if (bytes == 0) return nullptr;
  if (blocks_.empty() || bytes > blocks_.back().bytes - blocks_.back().used) grow(bytes);
  Block& block = blocks_.back();
  std::byte* const piece = static_cast<std::byte*>(block.memory.get()) + block.used;
  block.used += bytes;
  used_ += bytes;
  most_ = std::max(most_, used_);
  needed_ = std::max(needed_, used_);
  return piece;
}

void Workspace::grow(size_t bytes) {
  NSGD_CHECK(!queue_.recording(),
             "queue on {}: an op needs {} bytes of scratch memory while a graph is recorded, but the workspace has {}",
             queue_.device().name(), used_ + bytes, this->bytes());
  if (used_ == 0 && !blocks_.empty()) {
    blocks_.clear();  // before the allocation, so that both need not fit at once
    ++generation_;
  }
  std::shared_ptr<void> memory = queue_.allocate(bytes);
  if (!memory)
    throw OutOfMemory(
        fmt::format("queue on {}: out of memory for {} bytes of scratch memory", queue_.device().name(), bytes));
  blocks_.push_back({std::move(memory), bytes, 0});
}

void Workspace::close(const Mark& scope) noexcept {
  depth_ = scope.depth - 1;
  used_ = scope.used;
  for (size_t i = scope.block; i < blocks_.size(); ++i) blocks_[i].used = i == scope.block ? scope.offset : 0;
  if (used_ > 0) return;
  if (blocks_.size() > 1) join();
  most_ = 0;
}

// If there is no room for a single block, none is left; the next op that needs one allocates it or reports the lack.
void Workspace::join() noexcept {
  blocks_.clear();
  ++generation_;
  try {
    if (std::shared_ptr<void> memory = queue_.allocate(most_)) blocks_.push_back({std::move(memory), most_, 0});
  } catch (const std::exception&) {
  }
}

}  // namespace noisysgd::kernels
