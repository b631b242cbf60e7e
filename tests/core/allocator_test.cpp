#include <noisysgd/core/allocator.h>

#include <cstdlib>
#include <new>
#include <vector>

#include <noisysgd/kernels/check.h>
#include "tests/catch.h"

using namespace noisysgd;

TEST_CASE("memory that is given back is handed out again, and counted") {
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

TEST_CASE("a block that is too large is refused with its size, and the allocator goes on") {
  Allocator allocator;
  CHECK_THROWS_WITH(allocator.allocate(size_t{1} << 60),
                    "cpu: out of memory: 1099511627776 MiB asked for, 0 bytes held by live tensors; a smaller "
                    "batch.micro needs less");
  CHECK(allocator.use().active == 0);
  CHECK(allocator.allocate(64));
}
