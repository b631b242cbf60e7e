#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/registry.h>
#include "tests/catch.h"
#include "tests/layers/layer_check.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

struct Passed {
  std::vector<float> y, grad_x;
};

// Ones through the layer and back, as micro-batches of the given size; the outputs one after another.
Passed pass_ones(Layer& layer, int64_t samples, int64_t micro, uint64_t seed, uint32_t step) {
  Context context(test_device);
  Passed passed;
  for (int64_t begin = 0; begin < samples; begin += micro) {
    const int64_t count = std::min(micro, samples - begin);
    const Shape shape = layer.input_shape().batched(count);
    const std::vector<float> ones(static_cast<size_t>(shape.elements()), 1.0f);
    Tape tape;
    const Variable x = tape.leaf(from_host(context, shape, ones));
    const Variable y = layer.forward({context, &tape, true, seed, step, begin}, x);
    for (const float value : to_host<float>(context, y.value)) passed.y.push_back(value);
    tape.backward(context, y, from_host(context, shape, ones), {});
    for (const float value : to_host<float>(context, tape.gradient(x))) passed.grad_x.push_back(value);
  }
  return passed;
}

}  // namespace

TEST_CASE("dropout keeps with its probability, scales by its inverse, and masks the gradient alike") {
  const float probability = 0.3f;
  Dropout layer("drop", {5, 5, 8}, probability, stream_of("drop"));
  const Passed passed = pass_ones(layer, 100, 100, 1, 0);
  CHECK(passed.y == passed.grad_x);
  int64_t kept = 0;
  for (const float value : passed.y) {
    if (value != 0) CHECK(value == Approx(1 / (1 - probability)));
    kept += value != 0;
  }
  const auto n = static_cast<double>(passed.y.size());
  const double expected = n * (1 - probability), deviation = std::sqrt(expected * probability);
  CHECK(std::abs(static_cast<double>(kept) - expected) < 5 * deviation);
}

TEST_CASE("the dropout mask depends on seed, step and layer, not on micro-batching") {
  Dropout layer("drop", {3, 3, 7}, 0.5f, stream_of("drop")), other("other", {3, 3, 7}, 0.5f, stream_of("other"));
  const std::vector<float> whole = pass_ones(layer, 24, 24, 1, 5).y;
  for (const int64_t micro : {1, 5, 8}) CHECK(pass_ones(layer, 24, micro, 1, 5).y == whole);
  CHECK(pass_ones(layer, 24, 24, 2, 5).y != whole);
  CHECK(pass_ones(layer, 24, 24, 1, 6).y != whole);
  CHECK(pass_ones(other, 24, 24, 1, 5).y != whole);
}

TEST_CASE("dropout is the identity in inference") {
  Context context(test_device);
  Dropout layer("drop", {6}, 0.5f, stream_of("drop"));
  const std::vector<float> x = random_tensor(24, 1);
  CHECK(to_host<float>(context, layer.forward({context}, {from_host(context, {4, 6}, x)}).value) == x);
}
