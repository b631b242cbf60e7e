#include <noisysgd/kernels/conv.h>

#include <rapidcheck.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <noisysgd/kernels/elementwise.h>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/gradcheck.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

// batch, height, width, in_channels, out_channels, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w
const std::vector<ConvShape> shapes = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},     // the smallest
    {2, 7, 7, 1, 20, 5, 5, 1, 1, 0, 0},    // LeNet's first layer
    {2, 6, 6, 20, 5, 5, 5, 1, 1, 2, 2},    // and second
    {3, 8, 6, 3, 16, 3, 3, 1, 1, 1, 1},    // ResNet
    {2, 8, 8, 16, 32, 3, 3, 2, 2, 1, 1},   // padding with stride 2
    {2, 7, 9, 5, 3, 3, 3, 2, 2, 1, 1},     // odd sizes: the last rows are not used
    {2, 8, 8, 16, 32, 1, 1, 2, 2, 0, 0},   // projection shortcut
    {4, 5, 5, 32, 33, 1, 1, 1, 1, 0, 0},   // pointwise
    {2, 6, 9, 3, 5, 2, 4, 1, 2, 1, 3},     // nothing square
    {2, 5, 7, 5, 1, 1, 3, 3, 1, 0, 1},     // one output channel
    {1, 11, 11, 3, 31, 7, 7, 4, 4, 3, 3},  // AlexNet-like
    {33, 4, 4, 31, 8, 4, 4, 1, 1, 0, 0},   // the kernel covers the image: T = 1
    {1, 9, 9, 8, 16, 3, 3, 3, 3, 0, 0},    // stride = kernel
};

double taps(const ConvShape& s) { return static_cast<double>(s.kernel_height * s.kernel_width * s.in_channels); }

std::string check_forward(Queue& queue, const ConvShape& s, bool with_bias) {
  const std::vector<float> x = random_tensor(input_size(s), 1), weight = random_tensor(s.weights(), 2),
                           bias = random_tensor(with_bias ? s.out_channels : 0, 3);
  std::vector<float> y = nan_tensor(output_size(s));
  conv_forward(queue, s, x.data(), weight.data(), with_bias ? bias.data() : nullptr, y.data());
  return compare(y, reference::conv_forward(s, to_double(x), to_double(weight), to_double(bias)), {.terms = taps(s)});
}

std::string check_backward(Queue& queue, const ConvShape& s) {
  const std::vector<float> x = random_tensor(input_size(s), 1), weight = random_tensor(s.weights(), 2),
                           cotangent = random_tensor(output_size(s), 4), before = random_tensor(s.weights(), 5);
  std::vector<float> grad_x = nan_tensor(input_size(s)), grad_weight = before;
  conv_backward_data(queue, s, weight.data(), cotangent.data(), grad_x.data());
  conv_backward_weight(queue, s, x.data(), cotangent.data(), grad_weight.data());
  reference::ConvGradients expected =
      reference::conv_backward(s, to_double(x), to_double(weight), to_double(cotangent));
  for (size_t i = 0; i < before.size(); ++i) expected.weight[i] += before[i];
  const double data_terms = static_cast<double>(s.kernel_height * s.kernel_width * s.out_channels);
  if (const std::string problem = compare(grad_x, expected.x, {.terms = data_terms}); !problem.empty())
    return "grad_x: " + problem;
  const double weight_terms = static_cast<double>(s.batch * s.positions());
  const std::string problem = compare(grad_weight, expected.weight, {.terms = weight_terms});
  return problem.empty() ? "" : "grad_weight: " + problem;
}

}  // namespace

TEST_CASE("convolution forward, data and weight gradients") {
  Queue queue({}, 2);
  for (const ConvShape& s : shapes) {
    INFO(describe(s));
    CHECK(check_forward(queue, s, false) == "");
    CHECK(check_forward(queue, s, true) == "");
    CHECK(check_backward(queue, s) == "");
  }
}

TEST_CASE("convolution gradients against central differences") {
  Queue queue({}, 2);
  for (const ConvShape& s : {ConvShape{2, 5, 6, 3, 5, 3, 2, 1, 2, 1, 0},
                             {1, 7, 7, 1, 4, 5, 5, 1, 1, 2, 2},
                             {2, 6, 6, 16, 8, 1, 1, 2, 2, 0, 0},
                             {3, 5, 5, 5, 3, 3, 3, 2, 2, 1, 1}}) {
    INFO(describe(s));
    const std::vector<float> x = random_tensor(input_size(s), 1), weight = random_tensor(s.weights(), 2),
                             cotangent = random_tensor(output_size(s), 4);
    std::vector<float> grad_x = nan_tensor(input_size(s)), grad_weight(s.weights(), 0.0f);
    conv_backward_data(queue, s, weight.data(), cotangent.data(), grad_x.data());
    conv_backward_weight(queue, s, x.data(), cotangent.data(), grad_weight.data());
    const auto form = [&](const std::vector<double>& input, const std::vector<double>& filter) {
      return dot(reference::conv_forward(s, input, filter, {}), to_double(cotangent));
    };
    const auto of_x = [&](const std::vector<double>& v) { return form(v, to_double(weight)); };
    const auto of_weight = [&](const std::vector<double>& v) { return form(to_double(x), v); };
    CHECK(compare(grad_x, central_differences(of_x, to_double(x)), {.terms = taps(s)}) == "");
    CHECK(compare(grad_weight, central_differences(of_weight, to_double(weight)),
                  {.terms = static_cast<double>(s.batch * s.positions())}) == "");
  }
}

TEST_CASE("convolutions of random shapes") {
  Queue queue({}, 2);
  CHECK(rc::check("forward and both gradients agree with the reference", [&] {
    ConvShape s;
    s.batch = *rc::gen::inRange<int64_t>(1, 4);
    s.in_channels = *rc::gen::element<int64_t>(1, 2, 3, 5, 8, 16, 20);
    s.out_channels = *rc::gen::element<int64_t>(1, 3, 5, 8, 16, 20);
    s.kernel_height = *rc::gen::inRange<int64_t>(1, 5);
    s.kernel_width = *rc::gen::inRange<int64_t>(1, 5);
    s.stride_height = *rc::gen::inRange<int64_t>(1, 4);
    s.stride_width = *rc::gen::inRange<int64_t>(1, 4);
    s.padding_height = *rc::gen::inRange<int64_t>(0, s.kernel_height);
    s.padding_width = *rc::gen::inRange<int64_t>(0, s.kernel_width);
    s.height = std::max<int64_t>(1, s.kernel_height - 2 * s.padding_height) + *rc::gen::inRange<int64_t>(0, 6);
    s.width = std::max<int64_t>(1, s.kernel_width - 2 * s.padding_width) + *rc::gen::inRange<int64_t>(0, 6);
    // A handful of random sums may cancel by chance, and their relative error means nothing then.
    RC_PRE(std::min({input_size(s), output_size(s), s.weights()}) >= 8);
    RC_LOG() << describe(s);
    RC_ASSERT(check_forward(queue, s, *rc::gen::arbitrary<bool>()) == "");
    RC_ASSERT(check_backward(queue, s) == "");
  }));
}

TEST_CASE("a convolution with a ReLU in its epilogue has the bits of the two ops, and keeps NaN") {
  Queue queue({}, 2);
  for (const ConvShape& s : shapes)
    for (const bool with_bias : {false, true}) {
      std::vector<float> x = random_tensor(input_size(s), 1);
      x[0] = std::numeric_limits<float>::quiet_NaN();
      const std::vector<float> weight = random_tensor(s.weights(), 2), bias = random_tensor(s.out_channels, 3);
      std::vector<float> y = nan_tensor(output_size(s)), expected = y;
      const float* const added = with_bias ? bias.data() : nullptr;
      conv_forward(queue, s, x.data(), weight.data(), added, expected.data());
      relu_forward(queue, output_size(s), expected.data(), expected.data());
      conv_forward(queue, s, x.data(), weight.data(), BiasEpilogue(added, true), y.data());
      CHECK(std::ranges::any_of(y, [](float value) { return std::isnan(value); }));
      for (size_t i = 0; i < y.size(); ++i)
        if (std::bit_cast<uint32_t>(y[i]) != std::bit_cast<uint32_t>(expected[i])) {
          CAPTURE(s.height, s.out_channels, with_bias, i);
          CHECK(y[i] == expected[i]);
          break;
        }
    }
}

TEST_CASE("a prepared convolution reads the pointers of each call") {
  Queue queue({}, 2);
  const ConvShape s{2, 6, 6, 16, 16, 3, 3, 1, 1, 1, 1};
  for (uint32_t round = 0; round < 3; ++round) {
    const std::vector<float> x = random_tensor(input_size(s), 10 + round), w = random_tensor(s.weights(), 20 + round);
    std::vector<float> y = nan_tensor(output_size(s));
    conv_forward(queue, s, x.data(), w.data(), nullptr, y.data());
    CHECK(compare(y, reference::conv_forward(s, to_double(x), to_double(w), {}), {.terms = taps(s)}) == "");
  }
}

TEST_CASE("an empty batch computes nothing, an impossible shape is named") {
  Queue queue({}, 1);
  std::vector<float> weight(9, 1.0f), gradient(9, 7.0f);
  const ConvShape empty{0, 4, 4, 1, 1, 3, 3, 1, 1, 0, 0};
  conv_forward(queue, empty, nullptr, weight.data(), nullptr, nullptr);
  conv_backward_data(queue, empty, weight.data(), nullptr, nullptr);
  conv_backward_weight(queue, empty, nullptr, nullptr, gradient.data());
  CHECK(gradient == std::vector<float>(9, 7.0f));
  const ConvShape too_small{1, 2, 2, 1, 1, 3, 3, 2, 2, 0, 0};
  CHECK_THROWS_WITH(conv_forward(queue, too_small, nullptr, weight.data(), nullptr, nullptr),
                    Catch::Matchers::Contains("3x3") && Catch::Matchers::Contains("2x2"));
  const ConvShape no_stride{1, 4, 4, 1, 1, 3, 3, 0, 1, 0, 0};
  CHECK_THROWS_AS(conv_backward_data(queue, no_stride, weight.data(), nullptr, nullptr), Error);
}
