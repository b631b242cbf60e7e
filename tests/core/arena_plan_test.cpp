#include <noisysgd/core/arena_plan.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <random>
#include <utility>
#include <vector>

#include "tests/catch.h"
#include "tests/memory_requests.h"

using namespace noisysgd;

namespace {

// What the plan promises, by looking at every byte.
class BytePlan {
 public:
  size_t allocate(size_t bytes) {
    const size_t end = used_.size();
    size_t best = end, best_gap = SIZE_MAX;
    for (size_t begin = 0; begin < end; ++begin) {
      if (used_[begin]) continue;
      size_t after = begin;
      while (!used_[after]) ++after;  // the last byte is used
      if (after - begin >= bytes && after - begin < best_gap) {
        best = begin;
        best_gap = after - begin;
      }
      begin = after;
    }
    used_.resize(std::max(end, best + bytes));
    std::fill_n(used_.begin() + static_cast<std::ptrdiff_t>(best), bytes, true);
    needed_ = std::max(needed_, used_.size());
    return best;
  }
  void release(size_t offset, size_t bytes) {
    std::fill_n(used_.begin() + static_cast<std::ptrdiff_t>(offset), bytes, false);
    while (!used_.empty() && !used_.back()) used_.pop_back();
  }
  void forget() { needed_ = used_.size(); }
  size_t needed() const { return needed_; }
  bool empty() const { return used_.empty(); }

 private:
  std::vector<bool> used_;
  size_t needed_ = 0;
};

}  // namespace

TEST_CASE("a block is placed in the smallest gap that holds it, and adjacent gaps are merged") {
  ArenaPlan plan;
  ArenaPlan::Block a = plan.allocate(512), b = plan.allocate(256), c = plan.allocate(256), d = plan.allocate(256),
                   e = plan.allocate(256);
  CHECK(std::vector{a.key(), b.key(), c.key(), d.key(), e.key()} == std::vector<size_t>{0, 512, 768, 1024, 1280});
  plan.release(std::move(a));  // gaps of 512 at 0 and of 256 at 1024
  plan.release(std::move(d));
  CHECK(plan.allocate(256).key() == 1024);
  CHECK(plan.allocate(128).key() == 0);
  plan.release(std::move(b));  // with the rest of a's gap: 384 + 256
  CHECK(plan.allocate(640).key() == 128);
  CHECK(plan.needed() == 1536);
}

TEST_CASE("releasing the last block lowers the end, and the peak can be reset") {
  ArenaPlan plan;
  ArenaPlan::Block a = plan.allocate(256), b = plan.allocate(256), c = plan.allocate(256);
  plan.release(std::move(b));
  plan.release(std::move(c));  // the end moves back over b's gap too
  CHECK(plan.needed() == 768);
  b = plan.allocate(1024);
  CHECK(b.key() == 256);
  CHECK(plan.needed() == 1280);
  plan.release(std::move(b));
  plan.forget();
  CHECK(plan.needed() == 256);
  CHECK_FALSE(plan.empty());
  plan.release(std::move(a));
  CHECK(plan.empty());
  plan.release({});
  CHECK(plan.empty());
}

TEST_CASE("a plan places blocks as a reference that checks every byte does") {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const size_t largest = 1 + random() % 60;
    ArenaPlan plan;
    BytePlan reference;
    std::vector<ArenaPlan::Block> held;
    for (int i = 0; i < 1000; ++i) {
      const auto choice = random() % 100;
      if (choice < 55) {
        const size_t bytes = 1 + random() % largest;
        held.push_back(plan.allocate(bytes));
        REQUIRE(held.back().key() == reference.allocate(bytes));
        REQUIRE(held.back().mapped() == bytes);
      } else if (choice < 98 && !held.empty()) {
        std::swap(held[random() % held.size()], held.back());
        reference.release(held.back().key(), held.back().mapped());
        plan.release(std::move(held.back()));
        held.pop_back();
      } else if (choice >= 98) {
        plan.forget();
        reference.forget();
      }
      REQUIRE(plan.needed() == reference.needed());
      REQUIRE(plan.empty() == reference.empty());
    }
  }
}

TEST_CASE("blocks of a plan can be freed even if no memory can be allocated, and a refused request changes nothing") {
  static_assert(noexcept(std::declval<ArenaPlan&>().release(ArenaPlan::Block())));
  ArenaPlan plan;
  std::vector<ArenaPlan::Block> blocks;
  for (size_t i = 0; i < 64; ++i) blocks.push_back(plan.allocate(64 + i));
  const size_t needed = plan.needed();
  bool refused = false;
  {
    const test::NoMemory no_memory;
    try {
      plan.allocate(64);
    } catch (const std::bad_alloc&) {
      refused = true;
    }
    // Every second block first: gaps between blocks, which are then merged on both sides.
    for (size_t i = 0; i < blocks.size(); i += 2) plan.release(std::move(blocks[i]));
    for (size_t i = 1; i < blocks.size(); i += 2) plan.release(std::move(blocks[i]));
  }
  CHECK(refused);
  CHECK(plan.empty());
  CHECK(plan.needed() == needed);
  CHECK(plan.allocate(needed).key() == 0);
}
