#include <noisysgd/kernels/check.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "tests/catch.h"

using namespace noisysgd;

TEST_CASE("messages show texts unchanged, numbers with the fewest exact digits, and doubled braces once") {
  CHECK(message("no argument") == "no argument");
  CHECK(message("") == "");
  const std::string text = "a {} text";
  CHECK(message("{}, {}{}", text, std::string_view("two"), "three") == "a {} text, twothree");
  CHECK(message("{{}} {{{}}}", 1) == "{} {1}");
  CHECK(message("{} {} {}", std::numeric_limits<int64_t>::min(), std::numeric_limits<uint64_t>::max(), uint8_t{7}) ==
        "-9223372036854775808 18446744073709551615 7");
  CHECK(message("{} {} {} {}", 0.1f, 0.1, 1e30, std::numeric_limits<double>::infinity()) == "0.1 0.1 1e+30 inf");
  CHECK(message("{} {} {}", true, false, 'c') == "true false c");
}

TEST_CASE("a check throws its message if the condition is false, and evaluates the arguments only then") {
  int evaluated = 0;
  const auto argument = [&] { return ++evaluated; };
  const auto check = [&](bool holds) { NSGD_CHECK(holds, "{} of {}", argument(), "these"); };
  CHECK_NOTHROW(check(true));
  CHECK(evaluated == 0);
  CHECK_THROWS_WITH(check(false), "1 of these");
}
