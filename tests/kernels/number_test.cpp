#include <noisysgd/kernels/number.h>

#include "tests/catch.h"
#include "tests/error_of.h"

using namespace noisysgd;
using namespace noisysgd::test;

TEST_CASE("while numbers are hidden, the host cannot read a number in memory but can read its own") {
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
