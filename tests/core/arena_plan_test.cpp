#include <noisysgd/core/arena_plan.h>

#include <map>
#include <random>
#include <vector>

#include <noisysgd/kernels/check.h>
#include "tests/catch.h"

using namespace noisysgd;

TEST_CASE("a block goes into the smallest gap that holds it, and neighbours that are released become one") {
  ArenaPlan plan;
  const size_t a = plan.allocate(512), b = plan.allocate(256), c = plan.allocate(256), d = plan.allocate(256),
               e = plan.allocate(256);
  CHECK(std::vector<size_t>{a, b, c, d, e} == std::vector<size_t>{0, 512, 768, 1024, 1280});
  plan.release(a);  // gaps of 512 at 0 and of 256 at 1024
  plan.release(d);
  CHECK(plan.allocate(256) == 1024);
  CHECK(plan.allocate(128) == 0);
  plan.release(b);  // with the rest of a's place: 384 + 256
  CHECK(plan.allocate(640) == 128);
  CHECK(plan.needed() == 1536);
  CHECK_THROWS_AS(plan.release(b), Error);
}

TEST_CASE("what is released at the end is given back, and can be forgotten") {
  ArenaPlan plan;
  plan.allocate(256);
  const size_t b = plan.allocate(256), c = plan.allocate(256);
  plan.release(b);
  plan.release(c);  // the end goes back over b's gap as well
  CHECK(plan.needed() == 768);
  CHECK(plan.allocate(1024) == 256);
  CHECK(plan.needed() == 1280);
  plan.release(256);
  plan.forget();
  CHECK(plan.needed() == 256);
  CHECK_FALSE(plan.empty());
  plan.release(0);
  CHECK(plan.empty());
}

TEST_CASE("blocks never overlap, and the same requests get the same places") {
  std::mt19937 random(5);
  std::vector<int> requests;  // bytes, or 0: release one
  for (int i = 0; i < 2000; ++i) requests.push_back(random() % 2 ? 1 + static_cast<int>(random() % 500) : 0);
  ArenaPlan plan;
  std::vector<size_t> places[2];
  for (std::vector<size_t>& offsets : places) {
    std::map<size_t, size_t> held;
    for (size_t i = 0; i < requests.size(); ++i) {
      if (requests[i] == 0) {
        if (held.empty()) continue;
        const auto block = std::next(held.begin(), static_cast<std::ptrdiff_t>(i % held.size()));
        plan.release(block->first);
        held.erase(block);
        continue;
      }
      const auto bytes = static_cast<size_t>(requests[i]);
      const size_t offset = plan.allocate(bytes);
      offsets.push_back(offset);
      const auto after = held.lower_bound(offset);
      REQUIRE((after == held.end() || offset + bytes <= after->first));
      if (after != held.begin()) REQUIRE(std::prev(after)->first + std::prev(after)->second <= offset);
      REQUIRE(offset + bytes <= plan.needed());
      held[offset] = bytes;
    }
    for (const auto& [offset, bytes] : held) plan.release(offset);
    CHECK(plan.empty());
  }
  CHECK(places[0] == places[1]);
}
