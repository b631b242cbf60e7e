#include "kernels/reduce.h"

#include "tests/catch.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

TEST_CASE("sums of a tensor are accumulated, and the same bits on any threads") {
  const int64_t n = GENERATE(0, 1, 31, 32, 33, 1025, 100000);
  const float offset = GENERATE(0.0f, 100.0f);
  const auto x = random_tensor(n, 1, offset);
  TensorSums expected{3, 5};
  for (const float value : x) {
    expected.sum += value;
    expected.sum_of_squares += double{value} * value;
  }
  Queue one({}, 1), three({}, 3);
  TensorSums sums{3, 5}, again{3, 5};
  tensor_sums(one, n, x.data(), &sums);
  tensor_sums(three, n, x.data(), &again);
  CHECK(sums.sum == Approx(expected.sum).epsilon(1e-12));
  CHECK(sums.sum_of_squares == Approx(expected.sum_of_squares).epsilon(1e-12));
  CHECK(sums.sum == again.sum);
  CHECK(sums.sum_of_squares == again.sum_of_squares);
}
