#include <noisysgd/kernels/patches.h>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

// A convolution is the product of patches and filters; a constant 1 carries the bias.
TEST_CASE("patches times filters are the convolution") {
  const ConvShape shape =
      GENERATE(ConvShape{2, 5, 4, 3, 2, 3, 3, 1, 1, 1, 1}, ConvShape{3, 7, 6, 1, 4, 2, 3, 2, 1, 0, 2},
               ConvShape{33, 1, 1, 9, 5, 1, 1, 1, 1, 0, 0}, ConvShape{1, 4, 4, 2, 1, 4, 4, 1, 1, 0, 0});
  const bool homogeneous = GENERATE(false, true);
  const int threads = GENERATE(1, 3);
  const auto x = random_tensor(input_size(shape), 1, 100);
  const auto weight = to_double(random_tensor(shape.weights(), 2));
  const auto bias = to_double(random_tensor(shape.out_channels, 3));
  const int64_t inputs = shape.weights() / shape.out_channels, columns = inputs + (homogeneous ? 1 : 0);
  const int64_t rows = shape.batch * shape.positions();
  Queue queue({}, threads);
  std::vector<float> patches = nan_tensor(rows * columns);
  conv_patches(queue, shape, homogeneous, x.data(), patches.data());
  std::vector<float> y;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < shape.out_channels; ++k) {
      double sum = homogeneous ? bias[k] * patches[row * columns + inputs] : 0;
      for (int64_t j = 0; j < inputs; ++j) sum += weight[k * inputs + j] * patches[row * columns + j];
      y.push_back(static_cast<float>(sum));
    }
  const reference::Vector none(static_cast<size_t>(shape.out_channels));
  CHECK(compare(y, reference::conv_forward(shape, to_double(x), weight, homogeneous ? bias : none)) == "");
}
