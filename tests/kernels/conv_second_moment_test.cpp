#include <noisysgd/kernels/conv_second_moment.h>

#include <fmt/format.h>
#include <rapidcheck.h>

#include <noisysgd/kernels/simd/ops.h>
#include "tests/compare.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/simd_fixture.h"
#include "tests/random_tensor.h"
#include "tests/reference/second_moment_reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

constexpr double promised = 1e-5;  // relative, for any shape

// batch, height, width, in_channels, out_channels, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w
const std::vector<ConvShape> shapes = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},       // the smallest
    {23, 28, 28, 1, 20, 5, 5, 1, 1, 0, 0},   // LeNet: packed patches, groups of samples, several blocks
    {50, 12, 12, 20, 50, 5, 5, 1, 1, 0, 0},  // LeNet: rows of 100 taps, two blocks
    {17, 32, 32, 16, 16, 3, 3, 1, 1, 1, 1},  // T = 1024
    {5, 32, 32, 3, 16, 3, 3, 1, 1, 1, 1},    // three colours
    {3, 8, 8, 64, 64, 3, 3, 1, 1, 1, 1},     // more tiles than tasks are needed: one group
    {70, 4, 4, 48, 40, 3, 3, 1, 1, 1, 1},    // T = 16, one group, several blocks
    {4, 9, 7, 5, 9, 3, 3, 2, 2, 1, 1},       // stride leaves a remainder
    {4, 8, 8, 16, 33, 1, 1, 2, 2, 0, 0},     // projection shortcut
    {3, 6, 9, 3, 5, 2, 4, 1, 2, 1, 3},       // nothing square
    {2, 3, 3, 2, 3, 3, 3, 1, 1, 4, 4},       // halo wider than the kernel: some taps read only zeros
    {2, 11, 11, 3, 31, 7, 7, 4, 4, 3, 3},    // AlexNet-like
    {33, 4, 4, 31, 8, 4, 4, 1, 1, 0, 0},     // the kernel covers the image: T = 1
};

struct Inputs {
  explicit Inputs(const ConvShape& s, float offset = 0)
      : x(random_tensor(input_size(s), 1, offset)), grad_y(random_tensor(output_size(s), 2)) {}
  std::vector<float> x, grad_y;
};

struct Result {
  std::vector<float> sum, second_moment;
  bool intact = false;
};

// Runs on outputs that are filled with `prefill`.
Result run(const simd::SimdKernels& kernels, int threads, const ConvShape& s, SecondMoment statistic,
           const Inputs& inputs, const std::vector<float>& prefill) {
  Queue queue({}, threads);
  Guarded x(inputs.x), grad_y(inputs.grad_y), sum(prefill), second_moment(prefill);
  simd::conv_weight_gradient(queue, kernels, s, statistic, x.data(), grad_y.data(), sum.data(),
                             statistic == SecondMoment::none ? nullptr : second_moment.data());
  return {sum.values(), second_moment.values(),
          sum.intact() && second_moment.intact() && x.values() == inputs.x && grad_y.values() == inputs.grad_y};
}

std::vector<float> zeros(const ConvShape& s) { return std::vector<float>(static_cast<size_t>(s.weights())); }

std::vector<double> plus(std::vector<double> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// Checks the whole contract on one shape. Returns a description of the first violation, or an empty text.
std::string check(const ConvShape& s, float offset) {
  const Inputs inputs(s, offset);
  const SecondMomentReference reference = second_moment_reference(s, inputs.x, inputs.grad_y);
  const std::vector<float> prefill = random_tensor(s.weights(), 3);
  // Far from zero, gradients of mean zero cancel most of each sum, so rounding is measured against its terms.
  const Tolerance tolerance =
      offset == 0 ? within(promised) : Tolerance{.terms = static_cast<double>(s.batch * s.positions())};
  for (simd::Isa isa : supported_isas()) {
    const simd::SimdKernels& kernels = simd::simd_kernels(isa);
    std::vector<float> plain_sum;
    for (SecondMoment statistic : {SecondMoment::none, SecondMoment::exact, SecondMoment::spatial}) {
      const std::vector<double>& squares = statistic == SecondMoment::exact ? reference.exact : reference.spatial;
      const std::string where = fmt::format("{} {} {}: ", describe(s), kernels.name, static_cast<int>(statistic));
      Result one;
      for (int threads : {1, 2, 3}) {
        const Result result = run(kernels, threads, s, statistic, inputs, prefill);
        if (!result.intact) return where + "wrote outside its outputs";
        if (threads > 1 && (result.sum != one.sum || result.second_moment != one.second_moment))
          return where + fmt::format("{} threads change the result", threads);
        one = result;
        if (statistic == SecondMoment::none) plain_sum = result.sum;
        if (result.sum != plain_sum) return where + "the second moment changes the gradient";
        if (threads > 1) continue;
        if (std::string e = compare(result.sum, plus(reference.sum, prefill), tolerance); !e.empty())
          return where + "sum: " + e;
        if (statistic == SecondMoment::none && result.second_moment != prefill) return where + "touched second moment";
        if (statistic == SecondMoment::none) continue;
        if (std::string e = compare(result.second_moment, plus(squares, prefill), tolerance); !e.empty())
          return where + "second moment: " + e;
      }
    }
  }
  return "";
}

}  // namespace

TEST_CASE("convolution second moments equal the per-sample reference") {
  for (const ConvShape& shape : shapes)
    for (float offset : {0.0f, 100.0f}) CHECK(check(shape, offset) == "");
}

TEST_CASE("convolution second moments equal the per-sample reference on random shapes") {
  CHECK(rc::check("random shapes", [] {
    const auto up_to = [](int64_t low, int64_t high) { return *rc::gen::inRange<int64_t>(low, high + 1); };
    ConvShape s{};
    s.batch = up_to(1, 6);
    s.in_channels = up_to(1, 40);
    s.out_channels = up_to(1, 20);
    s.kernel_height = up_to(1, 5);
    s.kernel_width = up_to(1, 5);
    s.stride_height = up_to(1, 3);
    s.stride_width = up_to(1, 3);
    s.padding_height = up_to(0, 3);
    s.padding_width = up_to(0, 3);
    s.height = up_to(std::max<int64_t>(1, s.kernel_height - 2 * s.padding_height), 9);
    s.width = up_to(std::max<int64_t>(1, s.kernel_width - 2 * s.padding_width), 9);
    const std::string error = check(s, 0);
    if (!error.empty()) RC_FAIL(error);
  }));
}

// Values as large as the gradients' own; signs of +-1/2.
SampleOperands random_operands(const ConvShape& s) {
  const int64_t taps = s.weights() / s.out_channels, rows = s.batch * s.out_channels;
  SampleOperands operands{random_tensor(taps, 4), random_tensor(s.weights(), 5), random_tensor(rows, 6),
                          random_tensor(rows, 7), random_tensor(rows, 8)};
  for (float& sign : operands.signs) sign = sign < 0 ? -0.5f : 0.5f;
  return operands;
}

TEST_CASE("centred second moments and signed sums equal the per-sample reference") {
  for (const ConvShape& s : shapes) {
    const Inputs inputs(s);
    SampleOperands operands = random_operands(s);
    const SampleSumsReference reference = sample_sums_reference(s, inputs.x, inputs.grad_y, operands);
    const std::vector<float> prefill = random_tensor(s.weights(), 3);
    for (simd::Isa isa : supported_isas()) {
      const simd::SimdKernels& kernels = simd::simd_kernels(isa);
      INFO(describe(s) << " " << kernels.name);
      const Result plain = run(kernels, 1, s, SecondMoment::exact, inputs, prefill);
      std::vector<float> second_moment, signed_sum;
      for (const int threads : {1, 2, 3}) {
        Queue queue({}, threads);
        Guarded sum(prefill), square(prefill), with_signs(prefill), tap_mean(operands.tap_mean), slope(operands.slope),
            channel_sum(operands.channel_sum), channel_product(operands.channel_product), signs(operands.signs);
        SampleSums sums{square.data(),          tap_mean.data(),   slope.data(), channel_sum.data(),
                        channel_product.data(), with_signs.data(), signs.data()};
        simd::conv_sample_sums(queue, kernels, s, inputs.x.data(), inputs.grad_y.data(), sums, sum.data());
        CHECK(sum.intact());
        CHECK(square.intact());
        CHECK(with_signs.intact());
        CHECK(sum.values() == plain.sum);
        if (threads == 1) {
          second_moment = square.values();
          signed_sum = with_signs.values();
          CHECK(compare(second_moment, plus(reference.second_moment, prefill), within(promised)) == "");
          // Signs cancel, so rounding is measured against the terms.
          const Tolerance tolerance{.terms = static_cast<double>(s.batch * s.positions())};
          CHECK(compare(signed_sum, plus(reference.signed_sum, prefill), tolerance) == "");
        }
        CHECK(square.values() == second_moment);
        CHECK(with_signs.values() == signed_sum);

        // Each sum computed without the other has the same bits.
        Guarded alone(prefill), sum_alone(prefill);
        simd::conv_sample_sums(queue, kernels, s, inputs.x.data(), inputs.grad_y.data(),
                               {.signed_sum = alone.data(), .signs = signs.data()}, sum_alone.data());
        CHECK(alone.values() == signed_sum);
        CHECK(sum_alone.values() == plain.sum);
      }
    }
  }
}

TEST_CASE("with one output position the spatial second moment is the exact one") {
  const ConvShape shape{21, 4, 3, 7, 11, 4, 3, 1, 1, 0, 0};
  const Inputs inputs(shape);
  REQUIRE(shape.positions() == 1);
  for (simd::Isa isa : supported_isas()) {
    const simd::SimdKernels& kernels = simd::simd_kernels(isa);
    const Result exact = run(kernels, 1, shape, SecondMoment::exact, inputs, zeros(shape));
    const Result spatial = run(kernels, 1, shape, SecondMoment::spatial, inputs, zeros(shape));
    CHECK(compare(spatial.second_moment, to_double(exact.second_moment), within(promised)) == "");
    CHECK(exact.sum == spatial.sum);
  }
}

TEST_CASE("the exact second moment is at most T times the spatial one, and at least S^2 / N") {
  for (const ConvShape& shape : shapes) {
    const Inputs inputs(shape);
    for (simd::Isa isa : supported_isas()) {
      const simd::SimdKernels& kernels = simd::simd_kernels(isa);
      const Result exact = run(kernels, 2, shape, SecondMoment::exact, inputs, zeros(shape));
      const Result spatial = run(kernels, 2, shape, SecondMoment::spatial, inputs, zeros(shape));
      int64_t violations = 0;
      for (size_t i = 0; i < exact.sum.size(); ++i) {
        const double upper = static_cast<double>(shape.positions()) * spatial.second_moment[i];
        const double lower = std::pow(exact.sum[i], 2) / static_cast<double>(shape.batch);
        const double value = exact.second_moment[i], slack = promised * (upper + 1e-30);
        violations += !(value <= upper + slack && value >= lower - slack);
      }
      INFO(describe(shape) << " " << kernels.name);
      CHECK(violations == 0);
    }
  }
}

TEST_CASE("the public convolution second moments run on the chosen instruction set") {
  const ConvShape shape{3, 7, 7, 4, 6, 3, 3, 1, 1, 1, 1};
  const Inputs inputs(shape);
  const std::vector<float> prefill = random_tensor(shape.weights(), 3);
  Queue queue({}, 2);
  const auto expected = [&](SecondMoment statistic) {
    return run(simd::simd_kernels(), 2, shape, statistic, inputs, prefill);
  };
  std::vector<float> sum = prefill, squares = prefill;
  conv_second_moment_exact(queue, shape, inputs.x.data(), inputs.grad_y.data(), sum.data(), squares.data());
  CHECK(sum == expected(SecondMoment::exact).sum);
  CHECK(squares == expected(SecondMoment::exact).second_moment);
  sum = squares = prefill;
  conv_second_moment_spatial(queue, shape, inputs.x.data(), inputs.grad_y.data(), sum.data(), squares.data());
  CHECK(sum == expected(SecondMoment::spatial).sum);
  CHECK(squares == expected(SecondMoment::spatial).second_moment);
  sum = prefill;
  conv_backward_weight_direct(queue, shape, inputs.x.data(), inputs.grad_y.data(), sum.data());
  CHECK(sum == expected(SecondMoment::none).sum);
}

TEST_CASE("a NaN in one sample reaches exactly the weights that it touches") {
  const ConvShape shape{4, 6, 6, 3, 10, 3, 3, 1, 1, 0, 0};
  Inputs inputs(shape);
  inputs.grad_y[static_cast<size_t>(5 + 2 * shape.positions() * shape.out_channels)] = NAN;  // channel 5 of sample 2
  const int64_t taps = shape.weights() / shape.out_channels;
  for (simd::Isa isa : supported_isas()) {
    const Result result = run(simd::simd_kernels(isa), 1, shape, SecondMoment::exact, inputs, zeros(shape));
    for (int64_t i = 0; i < shape.weights(); ++i) {
      REQUIRE(std::isnan(result.sum[i]) == (i / taps == 5));
      REQUIRE(std::isnan(result.second_moment[i]) == (i / taps == 5));
    }
  }
}

TEST_CASE("an empty batch changes nothing and an impossible shape is named") {
  Queue queue({}, 1);
  std::vector<float> sum = {1, 2}, squares = {3, 4};
  conv_second_moment_exact(queue, ConvShape{0, 3, 3, 1, 2, 1, 1, 1, 1, 0, 0}, nullptr, nullptr, sum.data(),
                           squares.data());
  CHECK(sum == std::vector<float>{1, 2});
  CHECK(squares == std::vector<float>{3, 4});
  const ConvShape shape{1, 3, 3, 1, 1, 5, 5, 1, 1, 0, 0};
  CHECK_THROWS_WITH(conv_second_moment_exact(queue, shape, nullptr, nullptr, sum.data(), squares.data()),
                    Catch::Matchers::Contains("5x5 kernel does not fit a 3x3 image"));
}
