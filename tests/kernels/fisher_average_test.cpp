#include <noisysgd/kernels/fisher_average.h>

#include <algorithm>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

TEST_CASE("a running average of clamped variances; without decay it overwrites") {
  const int64_t n = GENERATE(1, 31, 32, 33, 1025, 40000);
  const float decay = GENERATE(0.0f, 0.75f);
  Queue queue({}, GENERATE(1, 3));
  const auto squares = random_tensor(n, 1, 1), sums = random_tensor(n, 2, 0, 4), before = random_tensor(n, 3, 2);
  std::vector<double> expected;
  for (size_t i = 0; i < squares.size(); ++i) {
    const double variance = std::max(0.0, 0.5 * squares[i] - 0.125 * double{sums[i]} * sums[i]);
    expected.push_back(decay == 0 ? variance : decay * before[i] + (1 - decay) * variance);
  }
  std::vector<float> average = decay == 0 ? nan_tensor(n) : before;
  fisher_average(queue, n, 0.5f, -0.125f, decay, squares.data(), sums.data(), average.data());
  if (std::any_of(expected.begin(), expected.end(), [](double v) { return v != 0; }))
    CHECK(compare(average, expected, {.condition = 4}) == "");  // the subtraction
  else
    CHECK(to_double(average) == expected);
}
