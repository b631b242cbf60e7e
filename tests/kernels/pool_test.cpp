#include <noisysgd/kernels/pool.h>

#include <fmt/format.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/gradcheck.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

// batch, height, width, channels, kernel, stride, padding
const std::vector<PoolShape> shapes = {
    {1, 1, 1, 1, 1, 1, 0},                            // the smallest
    {3, 8, 8, 6, 2, 2, 0},                            // LeNet
    {2, 8, 8, 20, 2, 2, 0}, {2, 7, 9, 16, 2, 2, 0},   // the last row and column are not used
    {1, 9, 7, 33, 3, 2, 1},                           // overlapping, padded
    {2, 6, 6, 3, 3, 1, 1},  {2, 10, 11, 5, 2, 3, 0},  // gaps between windows
    {2, 11, 5, 1, 5, 2, 2}, {1, 16, 16, 5, 16, 1, 0}, {33, 4, 4, 3, 4, 4, 0},
    {1, 5, 5, 70, 3, 3, 1}, {1, 3, 40, 1, 2, 2, 1},   {1, 2, 1025, 1, 2, 2, 0},
};

int64_t input_size(const PoolShape& s) { return s.batch * s.height * s.width * s.channels; }
int64_t output_size(const PoolShape& s) { return s.batch * s.out_height() * s.out_width() * s.channels; }

std::string describe(const PoolShape& s) {
  return fmt::format("x [{},{},{},{}] kernel {} stride {} padding {}", s.batch, s.height, s.width, s.channels, s.kernel,
                     s.stride, s.padding);
}

std::string check_max(Queue& queue, const PoolShape& s) {
  const std::vector<float> x = random_tensor(input_size(s), 1), cotangent = random_tensor(output_size(s), 2);
  const reference::MaxPool expected = reference::max_pool(s, to_double(x));
  std::vector<float> y = nan_tensor(output_size(s)), y_inference = y, grad_x = nan_tensor(input_size(s));
  std::vector<uint8_t> index(output_size(s), 255);
  max_pool_forward(queue, s, x.data(), y.data(), index.data());
  max_pool_forward(queue, s, x.data(), y_inference.data(), nullptr);
  max_pool_backward(queue, s, index.data(), cotangent.data(), grad_x.data());
  if (const std::string problem = compare(y, expected.y); !problem.empty()) return "y: " + problem;
  if (y_inference != y) return "y differs without an index";
  if (index != expected.index) return "index differs";
  // The maxima are linear in x as long as none changes place: their tangents are the adjoint's adjoint.
  const std::vector<float> tangent = random_tensor(input_size(s), 3);
  std::vector<float> y_tangent = nan_tensor(output_size(s));
  max_pool_tangent(queue, s, index.data(), tangent.data(), y_tangent.data());
  const auto moved = [&](double step) {
    std::vector<double> at = to_double(x);
    for (size_t i = 0; i < at.size(); ++i) at[i] += step * tangent[i];
    return reference::max_pool(s, at).y;
  };
  std::vector<double> slope = moved(1e-7);
  const std::vector<double> below = moved(-1e-7);
  for (size_t i = 0; i < slope.size(); ++i) slope[i] = (slope[i] - below[i]) / 2e-7;
  if (const std::string problem = compare(y_tangent, slope); !problem.empty()) return "tangent: " + problem;
  const auto loss = [&](const std::vector<double>& v) {
    return dot(reference::max_pool(s, v).y, to_double(cotangent));
  };
  const std::string problem = compare(grad_x, central_differences(loss, to_double(x), 1e-7),
                                      {.terms = static_cast<double>(s.kernel * s.kernel)});
  return problem.empty() ? "" : "grad_x: " + problem;
}

std::string check_average(Queue& queue, const PoolShape& s) {
  const std::vector<float> x = random_tensor(input_size(s), 1), cotangent = random_tensor(output_size(s), 2);
  std::vector<float> y = nan_tensor(output_size(s)), grad_x = nan_tensor(input_size(s));
  average_pool_forward(queue, s, x.data(), y.data());
  average_pool_backward(queue, s, cotangent.data(), grad_x.data());
  const Tolerance tolerance{.terms = static_cast<double>(s.kernel * s.kernel)};
  const std::string problem = compare(y, reference::average_pool(s, to_double(x)), tolerance);
  if (!problem.empty()) return "y: " + problem;
  const auto loss = [&](const std::vector<double>& v) {
    return dot(reference::average_pool(s, v), to_double(cotangent));
  };
  const std::vector<double> origin(input_size(s));  // linear: any point, any step
  const std::string gradient_problem = compare(grad_x, central_differences(loss, origin, 1.0), tolerance);
  return gradient_problem.empty() ? "" : "grad_x: " + gradient_problem;
}

}  // namespace

TEST_CASE("max and average pooling against the reference and its central differences") {
  Queue queue({}, 2);
  for (const PoolShape& s : shapes) {
    INFO(describe(s));
    CHECK(check_max(queue, s) == "");
    CHECK(check_average(queue, s) == "");
  }
}

TEST_CASE("pooling of random shapes") {
  Queue queue({}, 2);
  CHECK(rc::check("forward and backward agree with the reference", [&] {
    PoolShape s;
    s.batch = *rc::gen::inRange<int64_t>(1, 4);
    s.channels = *rc::gen::element<int64_t>(1, 2, 3, 5, 8, 16, 20, 40);
    s.kernel = *rc::gen::inRange<int64_t>(1, 6);
    s.stride = *rc::gen::inRange<int64_t>(1, 5);
    s.padding = *rc::gen::inRange<int64_t>(0, s.kernel / 2 + 1);
    const int64_t smallest = std::max<int64_t>(1, s.kernel - 2 * s.padding);
    s.height = smallest + *rc::gen::inRange<int64_t>(0, 6);
    s.width = smallest + *rc::gen::inRange<int64_t>(0, 6);
    // A handful of random sums may cancel by chance, and their relative error means nothing then.
    RC_PRE(std::min(input_size(s), output_size(s)) >= 8);
    RC_LOG() << describe(s);
    RC_ASSERT(check_max(queue, s) == "");
    RC_ASSERT(check_average(queue, s) == "");
  }));
}

TEST_CASE("ties go to the first maximum, NaN and infinities are propagated") {
  Queue queue({}, 1);
  const float nan = NAN, inf = INFINITY;
  const PoolShape s{1, 2, 2, 5, 2, 2, 0};
  // channels:             tie    later tie  NaN    -inf   +inf
  const std::vector<float> x = {1, 0, 3,   -inf, 0,    //
                                1, 2, nan, -inf, inf,  //
                                1, 2, 9,   -inf, 1,    //
                                0, 2, 1,   -inf, inf};
  std::vector<float> y = nan_tensor(5);
  std::vector<uint8_t> index(5, 255);
  max_pool_forward(queue, s, x.data(), y.data(), index.data());
  CHECK(compare(y, std::vector<double>{1, 2, nan, -inf, inf}) == "");
  CHECK(index == std::vector<uint8_t>{0, 1, 1, 0, 1});
}

TEST_CASE("pooling does not depend on the thread count; an empty batch computes nothing") {
  Queue one({}, 1), three({}, 3);
  const PoolShape s{16, 17, 19, 20, 3, 2, 1}, empty{0, 4, 4, 3, 2, 2, 0};
  const std::vector<float> x = random_tensor(input_size(s), 1);
  std::vector<float> y[2] = {nan_tensor(output_size(s)), nan_tensor(output_size(s))};
  std::vector<uint8_t> index[2] = {std::vector<uint8_t>(output_size(s)), std::vector<uint8_t>(output_size(s), 1)};
  std::vector<float> grad_x[2] = {nan_tensor(input_size(s)), nan_tensor(input_size(s))};
  Queue* queues[2] = {&one, &three};
  for (int i = 0; i < 2; ++i) {
    max_pool_forward(*queues[i], s, x.data(), y[i].data(), index[i].data());
    max_pool_backward(*queues[i], s, index[i].data(), y[i].data(), grad_x[i].data());
    max_pool_forward(*queues[i], empty, nullptr, nullptr, nullptr);
    max_pool_backward(*queues[i], empty, nullptr, nullptr, nullptr);
    max_pool_tangent(*queues[i], empty, nullptr, nullptr, nullptr);
    average_pool_forward(*queues[i], empty, nullptr, nullptr);
    average_pool_backward(*queues[i], empty, nullptr, nullptr);
  }
  CHECK(y[0] == y[1]);
  CHECK(index[0] == index[1]);
  CHECK(grad_x[0] == grad_x[1]);
}

TEST_CASE("global average pooling and its gradient") {
  Queue queue({}, 2);
  for (const int64_t batch : {0, 1, 33})
    for (const int64_t positions : {1, 31, 64, 1025})
      for (const int64_t channels : {1, 5, 16, 33, 64}) {
        CAPTURE(batch, positions, channels);
        for (const float offset : {0.0f, 100.0f}) {
          const std::vector<float> x = random_tensor(batch * positions * channels, 1, offset);
          std::vector<float> y = nan_tensor(batch * channels);
          global_average_pool_forward(queue, batch, positions, channels, x.data(), y.data());
          CHECK(compare(y, reference::global_average_pool(batch, positions, channels, to_double(x)),
                        {.terms = static_cast<double>(positions)}) == "");
        }
        const std::vector<float> cotangent = random_tensor(batch * channels, 2);
        std::vector<float> grad_x = nan_tensor(batch * positions * channels);
        global_average_pool_backward(queue, batch, positions, channels, cotangent.data(), grad_x.data());
        // d y[n,c] / d x[n,t,c] = 1/T
        std::vector<double> expected(grad_x.size());
        for (size_t i = 0; i < expected.size(); ++i) {
          const size_t n = i / (positions * channels), c = i % channels;
          expected[i] = double{cotangent[n * channels + c]} / static_cast<double>(positions);
        }
        CHECK(compare(grad_x, expected) == "");
      }
}

TEST_CASE("impossible windows are named") {
  Queue queue({}, 1);
  float value = 0;
  for (const PoolShape& s : {PoolShape{1, 2, 2, 1, 3, 1, 0},
                             {1, 4, 4, 1, 2, 0, 0},
                             {1, 4, 4, 1, 2, 1, 2},
                             {1, 20, 20, 1, 17, 1, 0},
                             {1, 4, 4, 0, 2, 2, 0}}) {
    INFO(describe(s));
    CHECK_THROWS_AS(max_pool_forward(queue, s, &value, &value, nullptr), Error);
    CHECK_THROWS_AS(average_pool_backward(queue, s, &value, &value), Error);
  }
  CHECK_THROWS_AS(global_average_pool_forward(queue, 1, 0, 1, &value, &value), Error);
}
