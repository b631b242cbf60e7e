#include <memory>
#include <vector>

#include <noisysgd/core/allocator.h>
#include <noisysgd/kernels/check.h>
#include "tests/catch.h"
#include "tests/memory_requests.h"

using namespace noisysgd;

namespace {

std::vector<void*> addresses_of(const std::vector<std::shared_ptr<void>>& blocks) {
  std::vector<void*> addresses;
  for (const std::shared_ptr<void>& block : blocks) addresses.push_back(block.get());
  return addresses;
}

}  // namespace

TEST_CASE("temporaries can be freed even if no memory can be allocated, and get the same addresses again") {
  Allocator allocator({Backend::cuda});
  std::vector<void*> addresses[3];
  for (std::vector<void*>& step : addresses)
    allocator.with_temporaries([&] {
      std::vector<std::shared_ptr<void>> blocks(64);
      for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = allocator.allocate(100 * (i + 1));
      {
        const test::NoMemory no_memory;
        for (size_t i = 0; i < blocks.size(); i += 2) blocks[i].reset();
      }
      for (size_t i = 0; i < blocks.size(); i += 4) blocks[i] = allocator.allocate(50 * (i + 1));
      step = addresses_of(blocks);
      const test::NoMemory no_memory;
      for (std::shared_ptr<void>& block : blocks) block.reset();
    });
  CHECK(addresses[1] == addresses[2]);  // in the first step there was no arena
  CHECK(allocator.use().active == 0);
  CHECK_THROWS_AS(allocator.with_temporaries([&] { static const auto kept = allocator.allocate(1); }), Error);
}
