// Weight gradients of an input that is relu(x factor + term), against fp64, and what is refused.
#include <noisysgd/kernels/conv_operand.h>

#include <limits>

#include <noisysgd/kernels/conv_second_moment.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/reference/conv_operand_reference.h"
#include "tests/reference/second_moment_reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

// The reference takes the input in fp32, so that it is rounded once.
std::vector<float> to_float(const std::vector<double>& values) { return {values.begin(), values.end()}; }

}  // namespace

TEST_CASE("the CPU makes a convolution's input of other arrays") {
  for (const int threads : {1, 3}) {
    Queue queue({}, threads);
    for (const auto& [s, group] : {std::pair<ConvShape, int64_t>{{6, 5, 4, 3, 4, 3, 3, 1, 1, 1, 1}, 2},
                                   {{4, 3, 3, 8, 4, 3, 3, 2, 2, 1, 1}, 4},
                                   {{3, 64, 64, 5, 1, 1, 1, 1, 1, 0, 0}, 1}}) {
      CAPTURE(describe(s), group, threads);
      std::vector<float> x = random_tensor(input_size(s), 1, 0.1f);
      x[7] = std::numeric_limits<float>::quiet_NaN();
      const std::vector<float> factor = random_factors(s, group), term = random_terms(s, group);
      std::vector<float> h = nan_tensor(input_size(s));
      make_conv_operand(queue, s, {x.data(), factor.data(), term.data(), group}, h.data());
      CHECK(compare(h, conv_operand_reference(s, group, x, factor, term)) == "");
    }
  }
}

TEST_CASE("the CPU's weight gradients take an input made of other arrays") {
  Queue queue({}, 2);
  const ConvShape s{6, 5, 4, 3, 4, 3, 3, 1, 1, 1, 1};
  for (const int64_t group : {1, 3, 6}) {
    CAPTURE(group);
    const std::vector<float> x = random_tensor(input_size(s), 1, 0.1f), grad_y = random_tensor(output_size(s), 2, 0.1f),
                             factor = random_factors(s, group), term = random_terms(s, group),
                             signs = random_tensor(s.batch * s.out_channels, 3);
    const SecondMomentReference expected =
        second_moment_reference(s, to_float(conv_operand_reference(s, group, x, factor, term)), grad_y, signs);
    const ConvOperand operand{x.data(), factor.data(), term.data(), group};
    std::vector<float> plain(static_cast<size_t>(s.weights())), gradient = plain, square = plain, with_signs = plain;
    conv_backward_weight(queue, s, operand, grad_y.data(), plain.data());
    conv_sample_sums(queue, s, operand, grad_y.data(),
                     {.second_moment = square.data(), .signed_sum = with_signs.data(), .signs = signs.data()},
                     gradient.data());
    const Tolerance tolerance{.terms = static_cast<double>(s.batch * s.positions())};
    CHECK(compare(plain, expected.sum, tolerance) == "");
    CHECK(compare(gradient, expected.sum, tolerance) == "");
    CHECK(compare(square, expected.exact, tolerance) == "");
    CHECK(compare(with_signs, expected.signed_sum, tolerance) == "");
  }
}

TEST_CASE("an input that does not fit to its convolution is refused") {
  Queue queue;
  const ConvShape s{6, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0};
  const std::vector<float> x(static_cast<size_t>(input_size(s))), constants(12);
  std::vector<float> sum(static_cast<size_t>(s.weights()));
  const auto call = [&](const ConvOperand& operand) {
    conv_backward_weight(queue, s, operand, x.data(), sum.data());
    conv_sample_sums(queue, s, operand, x.data(), {}, sum.data());
  };
  const float* const some = constants.data();
  CHECK_NOTHROW(call({x.data(), some, some, 3}));
  CHECK_THROWS_WITH(call({x.data(), some, nullptr, 3}), Catch::Matchers::Contains("both a factor and a term"));
  CHECK_THROWS_WITH(call({x.data(), nullptr, some, 3}), Catch::Matchers::Contains("both a factor and a term"));
  CHECK_THROWS_WITH(call({x.data(), some, some, 4}),
                    Catch::Matchers::Contains("6 samples") && Catch::Matchers::Contains("groups of 4"));
  CHECK_THROWS_WITH(call({x.data(), some, some, 0}), Catch::Matchers::Contains("groups of 0"));
  CHECK_THROWS_WITH(call({{x.data(), DType::bf16}, some, some, 3}), Catch::Matchers::Contains("not of bf16"));
  CHECK_THROWS_WITH(make_conv_operand(queue, s, x.data(), sum.data()), Catch::Matchers::Contains("no factor"));
  CHECK_THROWS_WITH((ConvOperand{x.data(), some, some, 3}.f32("the op")), Catch::Matchers::Contains("the op"));
}
