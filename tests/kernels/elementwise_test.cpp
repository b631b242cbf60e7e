#include <noisysgd/kernels/elementwise.h>

#include <algorithm>
#include <cmath>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/gradcheck.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {
constexpr int64_t sizes[] = {0, 1, 31, 32, 33, 1025, 70000};  // the last one is shared by threads
}

TEST_CASE("scale multiplies, in place too") {
  const int64_t n = GENERATE(0, 1, 31, 32, 33, 1025, 40000);
  Queue queue({}, GENERATE(1, 3));
  const auto x = random_tensor(n, 1, 100);
  std::vector<double> expected = to_double(x);
  for (double& value : expected) value *= -0.3f;
  std::vector<float> y = nan_tensor(n), in_place = x;
  scale(queue, n, -0.3f, x.data(), y.data());
  scale(queue, n, -0.3f, in_place.data(), in_place.data());
  CHECK(compare(y, expected) == "");
  CHECK(in_place == y);
}

TEST_CASE("add_square adds squares") {
  const int64_t n = GENERATE(0, 1, 31, 32, 33, 1025, 40000);
  Queue queue({}, GENERATE(1, 3));
  const auto x = random_tensor(n, 1, 100);
  std::vector<float> y = random_tensor(n, 2);
  std::vector<double> expected = to_double(y);
  for (size_t i = 0; i < x.size(); ++i) expected[i] += double{x[i]} * x[i];
  add_square(queue, n, x.data(), y.data());
  CHECK(compare(y, expected) == "");
}

TEST_CASE("fill, add and ReLU at every size and offset") {
  Queue queue({}, 3);
  for (const int64_t n : sizes)
    for (const float offset : {0.0f, 100.0f}) {
      CAPTURE(n, offset);
      const std::vector<float> x = random_tensor(n, 1, offset), before = random_tensor(n, 2, offset);
      std::vector<float> filled = nan_tensor(n), sum = before, rectified = nan_tensor(n), in_place = x;
      fill(queue, n, offset - 0.5f, filled.data());
      CHECK(filled == std::vector<float>(n, offset - 0.5f));
      add(queue, n, x.data(), sum.data());
      relu_forward(queue, n, x.data(), rectified.data());
      relu_forward(queue, n, in_place.data(), in_place.data());
      CHECK(in_place == rectified);
      std::vector<double> expected_sum(n);
      std::vector<float> expected_rectified(n);
      for (int64_t i = 0; i < n; ++i) {
        expected_sum[i] = double{x[i]} + before[i];
        expected_rectified[i] = std::max(x[i], 0.0f);
      }
      CHECK(compare(sum, expected_sum) == "");
      CHECK(rectified == expected_rectified);
    }
}

TEST_CASE("ReLU backward against central differences, in place too") {
  Queue queue({}, 2);
  const int64_t n = 129;
  const std::vector<float> x = random_tensor(n, 1), cotangent = random_tensor(n, 2);
  std::vector<float> y = nan_tensor(n), grad_x = nan_tensor(n), in_place = cotangent;
  relu_forward(queue, n, x.data(), y.data());
  relu_backward(queue, n, y.data(), cotangent.data(), grad_x.data());
  relu_backward(queue, n, y.data(), in_place.data(), in_place.data());
  const auto loss = [&](const std::vector<double>& v) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += cotangent[i] * std::fmax(v[i], 0.0);
    return sum;
  };
  CHECK(compare(grad_x, central_differences(loss, to_double(x), 1e-6)) == "");
  CHECK(in_place == grad_x);
}

TEST_CASE("ReLU lets NaN through and is flat at zero") {
  Queue queue({}, 1);
  const std::vector<float> x = {NAN, -INFINITY, INFINITY, 0.0f, -0.0f}, ones(5, 1.0f);
  std::vector<float> y(5, 7.0f), grad_x = nan_tensor(5);
  relu_forward(queue, 5, x.data(), y.data());
  CHECK(std::isnan(y[0]));
  CHECK(y[1] == 0);
  CHECK(y[2] == INFINITY);
  CHECK(y[3] == 0);
  CHECK(y[4] == 0);
  relu_backward(queue, 5, y.data(), ones.data(), grad_x.data());
  CHECK(grad_x[3] == 0);
  CHECK(grad_x[4] == 0);
}

TEST_CASE("dropout keeps element i by word offset+i, scales by 1/(1-p), and is its own backward") {
  Queue one({}, 1), three({}, 3);
  const RandomStream stream{3, 5, 7, RandomPurpose::dropout};
  for (const int64_t n : sizes)
    for (const float probability : {0.0f, 0.25f, 0.9f})
      for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{1023}, (uint64_t{1} << 33) + 2}) {
        CAPTURE(n, probability, offset);
        const std::vector<float> x = random_tensor(n, 1, 100.0f);
        std::vector<float> y = nan_tensor(n), in_place = x;
        dropout(one, n, probability, stream, offset, x.data(), y.data());
        dropout(three, n, probability, stream, offset, in_place.data(), in_place.data());
        std::vector<double> expected(n);
        for (int64_t i = 0; i < n; ++i) {
          const bool keep = uniform_from_word(random_word(stream, offset + static_cast<uint64_t>(i))) >= probability;
          expected[i] = keep ? x[i] / (1.0 - probability) : 0.0;
        }
        if (n > 1) CHECK(compare(y, expected) == "");
        if (n == 1) CHECK(y[0] == Approx(expected[0]));
        CHECK(in_place == y);
      }
}

TEST_CASE("dropout keeps the given share") {
  Queue queue({}, 2);
  const int64_t n = 100000;
  const float probability = 0.3f;
  const std::vector<float> ones(n, 1.0f);
  std::vector<float> y = nan_tensor(n);
  dropout(queue, n, probability, RandomStream{11, 0, 0, RandomPurpose::dropout}, 0, ones.data(), y.data());
  const auto dropped = static_cast<double>(std::count(y.begin(), y.end(), 0.0f));
  CHECK(dropped / n == Approx(0.3).margin(5 * std::sqrt(0.3 * 0.7 / n)));  // five standard errors
}

TEST_CASE("dropout of a dropped NaN is zero; probability 1 is refused") {
  Queue queue({}, 1);
  const std::vector<float> x = nan_tensor(64);
  std::vector<float> y(64, 1.0f);
  dropout(queue, 64, 0.5f, RandomStream{1, 0, 0, RandomPurpose::dropout}, 0, x.data(), y.data());
  const auto nans = std::count_if(y.begin(), y.end(), [](float v) { return std::isnan(v); });
  const auto zeros = std::count(y.begin(), y.end(), 0.0f);
  CHECK(nans + zeros == 64);
  CHECK(zeros > 0);
  CHECK_THROWS_AS(dropout(queue, 64, 1.0f, RandomStream{}, 0, x.data(), y.data()), Error);
  CHECK_THROWS_AS(dropout(queue, 64, -0.1f, RandomStream{}, 0, x.data(), y.data()), Error);
}

TEST_CASE("layout changes move [n,t,c] to [n,c,t] and back") {
  Queue queue({}, 3);
  for (const int64_t batch : {0, 1, 5})
    for (const int64_t positions : {1, 31, 33, 49, 1025})
      for (const int64_t channels : {1, 3, 20, 32, 65}) {
        CAPTURE(batch, positions, channels);
        const std::vector<float> x = random_tensor(batch * positions * channels, 1);
        std::vector<float> y = nan_tensor(x.size()), back = nan_tensor(x.size()), expected(x.size());
        for (int64_t n = 0; n < batch; ++n)
          for (int64_t t = 0; t < positions; ++t)
            for (int64_t c = 0; c < channels; ++c)
              expected[(n * channels + c) * positions + t] = x[(n * positions + t) * channels + c];
        nhwc_to_nchw(queue, batch, positions, channels, x.data(), y.data());
        CHECK(y == expected);
        nchw_to_nhwc(queue, batch, positions, channels, y.data(), back.data());
        CHECK(back == x);
      }
}

TEST_CASE("pad_channels subsamples and appends zero channels; backward is its transpose") {
  Queue queue({}, 3);
  struct Shape {
    int64_t batch, height, width, in_channels, stride, out_channels;
  };
  for (const Shape s : {Shape{1, 1, 1, 1, 1, 1},
                        {0, 4, 4, 2, 2, 4},
                        {3, 8, 8, 16, 2, 32},
                        {2, 5, 7, 3, 2, 5},
                        {2, 7, 5, 3, 3, 3},
                        {33, 6, 6, 31, 1, 64}}) {
    CAPTURE(s.batch, s.height, s.width, s.in_channels, s.stride, s.out_channels);
    const int64_t out_height = (s.height - 1) / s.stride + 1, out_width = (s.width - 1) / s.stride + 1;
    const int64_t in_size = s.batch * s.height * s.width * s.in_channels;
    const int64_t out_size = s.batch * out_height * out_width * s.out_channels;
    const std::vector<float> x = random_tensor(in_size, 1), cotangent = random_tensor(out_size, 2);
    std::vector<float> y = nan_tensor(out_size), grad_x = nan_tensor(in_size), expected(out_size),
                       expected_gradient(in_size);
    for (int64_t n = 0; n < s.batch; ++n)
      for (int64_t i = 0; i < s.height; i += s.stride)
        for (int64_t j = 0; j < s.width; j += s.stride)
          for (int64_t c = 0; c < s.in_channels; ++c) {
            const int64_t from = ((n * s.height + i) * s.width + j) * s.in_channels + c;
            const int64_t to = ((n * out_height + i / s.stride) * out_width + j / s.stride) * s.out_channels + c;
            expected[to] = x[from];
            expected_gradient[from] = cotangent[to];
          }
    const PadShape shape{s.batch, s.height, s.width, s.in_channels, s.stride, s.out_channels};
    pad_channels_forward(queue, shape, x.data(), y.data());
    pad_channels_backward(queue, shape, cotangent.data(), grad_x.data());
    CHECK(y == expected);
    CHECK(grad_x == expected_gradient);
  }
  float value = 0;
  CHECK_THROWS_AS(pad_channels_forward(queue, {1, 1, 1, 2, 1, 1}, &value, &value), Error);
}
