#include <noisysgd/kernels/reduce.h>

#include <cmath>
#include <vector>

#include "tests/catch.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

TEST_CASE("sums over the tensors of each target overwrite it and have the same bits with any number of threads") {
  const int64_t n = GENERATE(0, 1, 31, 32, 33, 1025, 100000);
  const float offset = GENERATE(0.0f, 100.0f);
  const auto x = random_tensor(n, 1, offset);
  const auto other = random_tensor(77, 2, offset);
  std::vector<double> expected(8);
  const auto add = [&](const std::vector<float>& values, size_t target) {
    for (const float value : values) {
      expected[2 * target] += value;
      expected[2 * target + 1] += double{value} * value;
    }
  };
  add(x, 0);
  add(other, 0);
  add(x, 2);
  const std::vector<SummedTensor> tensors{{n, x.data(), 0}, {77, other.data(), 0}, {n, x.data(), 2}};
  Queue one({}, 1), three({}, 3);
  std::vector<double> sums(8, NAN), again(8, NAN);
  tensor_sums(one, tensors, 4, sums.data());
  tensor_sums(three, tensors, 4, again.data());
  for (size_t i = 0; i < 8; ++i) CHECK(sums[i] == Approx(expected[i]).epsilon(1e-12));
  CHECK(sums == again);
}
