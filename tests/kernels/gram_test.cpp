#include <noisysgd/kernels/gram.h>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

TEST_CASE("a Gram matrix is the sum of products of columns, with any number of threads") {
  for (const int64_t rows : {0, 1, 31, 256, 1025})
    for (const int64_t columns : {1, 3, 16, 33, 128, 129}) {
      CAPTURE(rows, columns);
      const std::vector<float> x = random_tensor(rows * columns, 1, 0.3f), before = random_tensor(columns * columns, 2);
      std::vector<double> expected =
          reference::product(true, false, columns, columns, rows, to_double(x), to_double(x));
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
      Queue one({}, 1), three({}, 3);
      std::vector<float> actual = before, others = before;
      gram(one, rows, columns, x.data(), actual.data());
      gram(three, rows, columns, x.data(), others.data());
      CHECK(compare(actual, expected, {.terms = static_cast<double>(rows)}) == "");
      if (columns <= 128) CHECK(others == actual);
    }
}
