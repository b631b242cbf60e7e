#include <noisysgd/layers/sample_coupling.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "tests/catch.h"
#include "tests/layers/network.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

SampleCoupling coupling_of(const std::string& layers) {
  return network_from(R"({"type": "sequential", "layers": [{"type": "flatten"}, )" + layers + "]}", {2, 2, 1}, 3)
      ->coupling();
}

std::string norm(const std::string& ghost_size) {
  return R"({"type": "batch_norm", "ghost_size": )" + ghost_size + "}";
}

}  // namespace

TEST_CASE("a batch is usable if every layer accepts it: as one group, or as whole groups") {
  for (const std::vector<int64_t>& ghosts : std::vector<std::vector<int64_t>>{{}, {4}, {4, 6}, {2, 3, 20}, {5, 7}}) {
    SampleCoupling coupling;
    for (const int64_t size : ghosts) coupling += SampleCoupling::ghosts(size, 2);
    const int64_t least = ghosts.empty() ? 1 : 2;
    for (int64_t samples = 0; samples < 100; ++samples) {
      int64_t expected = samples;
      const auto taken = [&](int64_t size) { return expected <= size || expected % size == 0; };
      while (expected > 0 && !std::all_of(ghosts.begin(), ghosts.end(), taken)) --expected;
      CHECK(coupling.usable(samples) == (expected < least ? 0 : expected));
    }
  }
}

TEST_CASE("the layer that needs more samples decides, and multiples beyond 64 bits are refused") {
  for (const bool first : {false, true}) {
    SampleCoupling coupling = SampleCoupling::ghosts(4, first ? 2 : 1);
    coupling += SampleCoupling::ghosts(6, first ? 1 : 2);
    CHECK(coupling.usable(1) == 0);
    CHECK(coupling.usable(2) == 2);
  }
  SampleCoupling large = SampleCoupling::ghosts((int64_t{1} << 62) - 1, 2);
  large += SampleCoupling::ghosts(int64_t{1} << 62, 2);
  CHECK(large.ghost_size() == std::numeric_limits<int64_t>::max());
  CHECK_FALSE(large.allows_parts_of(int64_t{1} << 62));
}

TEST_CASE("a network couples samples if any of its layers does") {
  const SampleCoupling none = coupling_of(R"({"type": "linear"})"), ghosts = coupling_of(norm("4") + "," + norm("6")),
                       whole = coupling_of(norm("4") + "," + norm("null"));
  CHECK(none.allows_parts_of(1));
  CHECK(none.ghost_size() == 0);
  CHECK(ghosts.ghost_size() == 12);
  CHECK(ghosts.allows_parts_of(24));
  for (const int64_t samples : {6, 18}) CHECK_FALSE(ghosts.allows_parts_of(samples));
  CHECK_FALSE(ghosts.of_whole_batch());
  // If one layer couples the whole batch, it cannot be cut, whatever the others are.
  CHECK(whole.of_whole_batch());
  CHECK_FALSE(whole.allows_parts_of(4));
  CHECK(whole.ghost_size() == 0);
  CHECK(whole.usable(10) == 8);
  const auto residual = network_from(R"({"type": "residual", "body": [{"type": "batch_norm", "ghost_size": 4}],
                                         "shortcut": [{"type": "batch_norm", "ghost_size": 6}]})",
                                     {2, 2, 1}, 3);
  CHECK(residual->coupling().ghost_size() == 12);
  CHECK_THROWS_WITH(coupling_of(norm("1")),
                    Catch::Matchers::Contains(
                        "batch_norm 'bn1': ghost_size of 1 leaves one value per channel, which has no variance"));
}
