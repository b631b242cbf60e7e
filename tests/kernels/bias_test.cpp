#include <noisysgd/kernels/bias.h>

#include <array>
#include <cmath>
#include <limits>

#include <noisysgd/kernels/elementwise.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

TEST_CASE("bias_add adds the channel's bias to every row, with a ReLU and without") {
  Queue queue({}, 2);
  for (const int64_t rows : {0, 1, 31, 33, 1025})
    for (const int64_t channels : {1, 3, 10, 16, 31, 32, 33, 100, 1025}) {
      CAPTURE(rows, channels);
      const std::vector<float> bias = random_tensor(channels, 1), before = random_tensor(rows * channels, 2);
      std::vector<float> y = before;
      bias_add(queue, rows, channels, bias.data(), y.data());
      std::vector<double> expected = to_double(before);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += bias[i % channels];
      CHECK(compare(y, expected) == "");
      std::vector<float> rectified = y, with_relu = before, relu_alone = before;
      bias_add(queue, rows, channels, BiasEpilogue(bias.data(), true), with_relu.data());
      relu_forward(queue, rows * channels, rectified.data(), rectified.data());
      CHECK(with_relu == rectified);
      bias_add(queue, rows, channels, BiasEpilogue(nullptr, true), relu_alone.data());
      rectified = before;
      relu_forward(queue, rows * channels, rectified.data(), rectified.data());
      CHECK(relu_alone == rectified);
      std::vector<float> untouched = before;
      bias_add(queue, rows, channels, nullptr, untouched.data());
      CHECK(untouched == before);
    }
}

TEST_CASE("a NaN goes through the ReLU that a bias is added with") {
  Queue queue({}, 1);
  const float nan = std::numeric_limits<float>::quiet_NaN(), bias[2] = {1, nan};
  std::vector<float> y{nan, -1, -3, 2};
  bias_add(queue, 2, 2, BiasEpilogue(bias, true), y.data());
  CHECK(std::isnan(y[0]));
  CHECK(std::isnan(y[1]));
  CHECK(y[2] == 0);
  CHECK(std::isnan(y[3]));
}

// Written from the formulas: the mask in fp32, then the sums of the masked values.
TEST_CASE("the backward pass of a bias with a ReLU gives the bits of the two ops") {
  Queue one({}, 1), three({}, 3);
  for (const auto& [samples, positions, channels] : {std::array<int64_t, 3>{0, 3, 4},
                                                     {1, 1, 1},
                                                     {33, 1, 10},
                                                     {7, 33, 20},
                                                     {3, 1025, 16},
                                                     {2, 5, 100},
                                                     {130, 64, 5}}) {
    CAPTURE(samples, positions, channels);
    const int64_t size = samples * positions * channels;
    const std::vector<float> grad_y = random_tensor(size, 1, 0.2f), before = random_tensor(2 * channels, 2);
    std::vector<float> output = random_tensor(size, 3), masked = grad_y;
    for (int64_t i = 0; i < size; ++i) {
      output[i] = std::max(output[i], 0.0f);
      if (!(output[i] > 0)) masked[i] = 0;
    }
    const std::vector<float> sums(before.begin(), before.begin() + channels),
        squares(before.begin() + channels, before.end());
    std::vector<float> expected_sums = sums, expected_squares = squares;
    bias_backward(one, samples, positions, channels, masked.data(), expected_sums.data(), expected_squares.data());
    for (Queue* queue : {&one, &three})
      for (const int wanted : {0, 1, 2, 3})
        for (const bool in_place : {false, true}) {
          CAPTURE(wanted, in_place);
          std::vector<float> input = grad_y, result = nan_tensor(size), sum = sums, square = squares;
          bias_relu_backward(*queue, samples, positions, channels, output.data(), input.data(),
                             in_place ? input.data() : result.data(), wanted & 1 ? sum.data() : nullptr,
                             wanted & 2 ? square.data() : nullptr);
          CHECK((in_place ? input : result) == masked);
          CHECK(sum == (wanted & 1 ? expected_sums : sums));
          CHECK(square == (wanted & 2 ? expected_squares : squares));
        }
  }
}

TEST_CASE("the bias gradients of single samples are sums over their positions") {
  for (const auto& [samples, positions, channels] : {std::array<int64_t, 3>{0, 3, 4},
                                                     {1, 1, 1},
                                                     {33, 1, 10},
                                                     {7, 33, 20},
                                                     {3, 1025, 16},
                                                     {2, 5, 100},
                                                     {40, 31, 3}}) {
    CAPTURE(samples, positions, channels);
    const std::vector<float> grad_y = random_tensor(samples * positions * channels, 1, 0.2f);
    std::vector<double> expected(static_cast<size_t>(samples * channels));
    for (int64_t i = 0; i < samples * positions * channels; ++i)
      expected[static_cast<size_t>(i / (positions * channels) * channels + i % channels)] += grad_y[i];
    Queue one({}, 1), three({}, 3);
    std::vector<float> sums = nan_tensor(samples * channels), others = sums;
    bias_sample_gradients(one, samples, positions, channels, grad_y.data(), sums.data());
    bias_sample_gradients(three, samples, positions, channels, grad_y.data(), others.data());
    CHECK(compare(sums, expected, {.terms = static_cast<double>(positions)}) == "");
    CHECK(std::equal(sums.begin(), sums.end(), others.begin()));
  }
}

TEST_CASE("bias gradient and its second moment, accumulated, whatever the thread count") {
  Queue one({}, 1), three({}, 3);
  struct Shape {
    int64_t samples, positions, channels;
  };
  for (const Shape s : {Shape{0, 3, 4},
                        {1, 1, 1},
                        {33, 1, 10},
                        {5, 31, 3},
                        {7, 33, 20},
                        {3, 1025, 16},
                        {2, 5, 100},
                        {1025, 4, 32},
                        {130, 64, 5},
                        {2, 20000, 1}}) {
    for (const float offset : {0.0f, 100.0f}) {
      CAPTURE(s.samples, s.positions, s.channels, offset);
      const std::vector<float> grad_y = random_tensor(s.samples * s.positions * s.channels, 1, offset),
                               before = random_tensor(2 * s.channels, 2);
      reference::Moments expected = reference::bias_moments(s.samples, s.positions, s.channels, to_double(grad_y));
      std::vector<float> gradient(before.begin(), before.begin() + s.channels),
          moment(before.begin() + s.channels, before.end());
      for (int64_t c = 0; c < s.channels; ++c) {
        expected.sum[c] += gradient[c];
        expected.sum_of_squares[c] += moment[c];
      }
      std::vector<float> gradient_alone = gradient, gradient_three = gradient, moment_three = moment;
      bias_backward(one, s.samples, s.positions, s.channels, grad_y.data(), gradient.data(), moment.data());
      bias_backward(one, s.samples, s.positions, s.channels, grad_y.data(), gradient_alone.data(), nullptr);
      bias_backward(three, s.samples, s.positions, s.channels, grad_y.data(), gradient_three.data(),
                    moment_three.data());
      const Tolerance tolerance{.terms = static_cast<double>(s.samples * s.positions)};
      CHECK(compare(gradient, expected.sum, tolerance) == "");
      CHECK(compare(moment, expected.sum_of_squares, tolerance) == "");
      CHECK(gradient_alone == gradient);
      CHECK(gradient_three == gradient);
      CHECK(moment_three == moment);
    }
  }
}
