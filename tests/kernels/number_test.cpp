#include <noisysgd/kernels/number.h>

#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

TEST_CASE("a number in memory is hidden from the host as long as it is asked for, a number of the host's is not") {
  const int32_t place = 7;
  const Number<int32_t> own = 3, placed{4, &place};
  CHECK(own.read() == 3);
  CHECK(placed.read() == 7);
  CHECK(placed.value() == 4);
  {
    const HiddenNumbers hidden;
    CHECK(own.value() == 3);
    CHECK(placed.read() == 7);
    CHECK(contains(error_of([&] { (void)placed.value(); }), "a number that changes from step to step"));
    {
      const HiddenNumbers shown(false);
      CHECK(placed.value() == 4);
    }
    CHECK_THROWS_AS(placed.value(), Error);
  }
  CHECK(placed.value() == 4);
}
