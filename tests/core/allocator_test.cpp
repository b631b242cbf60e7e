#include <noisysgd/core/allocator.h>

#include <cstdlib>
#include <new>
#include <vector>

#include <noisysgd/kernels/check.h>
#include "tests/catch.h"
#include "tests/memory_requests.h"

using namespace noisysgd;

TEST_CASE("freed memory is reused and counted") {
  Allocator allocator;
  std::shared_ptr<void> a = allocator.allocate(1000), b = allocator.allocate(1000);
  void* const first = a.get();
  CHECK(allocator.use().active == 2 * 1024);
  a.reset();
  CHECK(allocator.use().active == 1024);
  CHECK(allocator.use().reserved == 2 * 1024);
  CHECK(allocator.allocate(1000).get() == first);
  CHECK(allocator.use().requests == 2);
  allocator.release_cached();
  CHECK(allocator.use().reserved == 1024);
}

TEST_CASE("a block that is too large is refused with its size, and the allocator keeps working") {
  Allocator allocator;
  CHECK_THROWS_WITH(allocator.allocate(size_t{1} << 60),
                    "cpu: out of memory: 1099511627776 MiB asked for, 0 bytes held by live tensors; a smaller "
                    "batch.micro needs less");
  CHECK(allocator.use().active == 0);
  CHECK(allocator.allocate(64));
}

TEST_CASE("blocks can be freed even if no memory can be allocated") {
  Allocator allocator;
  std::vector<std::shared_ptr<void>> blocks;
  for (size_t i = 0; i < 64; ++i) blocks.push_back(allocator.allocate(64 * (i + 1)));
  const MemoryUse before = allocator.use();
  {
    const test::NoMemory no_memory;
    for (std::shared_ptr<void>& block : blocks) block.reset();
  }
  CHECK(allocator.use().active == 0);
  CHECK(allocator.use().reserved == before.reserved);
  for (size_t i = 0; i < 64; ++i) blocks[i] = allocator.allocate(64 * (i + 1));
  CHECK(allocator.use().requests == before.requests);
}
