#include <noisysgd/kernels/moving_average.h>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::test;

TEST_CASE("the moving average weights the past by its decay") {
  const int64_t n = GENERATE(0, 1, 31, 32, 33, 1025, 100001);
  const float decay = GENERATE(0.0f, 0.25f, 0.999f);
  const std::vector<float> x = random_tensor(n, 1), before = random_tensor(n, 2);
  std::vector<float> average = before;
  std::vector<double> expected;
  for (size_t i = 0; i < x.size(); ++i)
    expected.push_back(static_cast<double>(decay) * before[i] + (1 - static_cast<double>(decay)) * x[i]);
  kernels::Queue queue({}, 2);
  kernels::moving_average(queue, n, decay, x.data(), average.data());
  CHECK(compare(average, expected, {.terms = 4}) == "");
}
