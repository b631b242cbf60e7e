// Weight gradients of an input that is relu(x factor + term): on every route the bits of those of the made array, and
// near fp64.
#include <noisysgd/kernels/conv_operand.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include <noisysgd/kernels/conv_block.h>
#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/cuda/conv_weight_gradient.h>
#include <noisysgd/kernels/cuda/state.h>
#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/kernels/conv_sizes.h"
#include "tests/kernels/square_conv.h"
#include "tests/kernels/stored_array.h"
#include "tests/reference/conv_operand_reference.h"
#include "tests/reference/second_moment_reference.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

namespace {

struct Problem {
  ConvShape shape;
  int64_t group;
};

// Every tiling of conv_window_halves, with groups of one, of several and of all samples, items of samples of several
// groups, and a batch of which each share has several items.
const Problem windows[] = {{square(3, 32, 32, 32), 1},       {square(4, 32, 16, 16), 2},
                           {square(3, 16, 32, 32), 3},       {square(4, 8, 64, 64), 2},
                           {square(9, 4, 32, 64), 3},        {square(26, 8, 64, 128, 3, 2), 2},
                           {square(2, 32, 16, 32, 3, 2), 1}, {square(4, 16, 32, 64, 3, 2), 2}};
// A matrix product, conv_pairs, conv_gather or, under fp32, conv_tiles.
const Problem others[] = {
    {square(4, 5, 8, 8, 1), 2}, {{6, 3, 3, 6, 5, 3, 3, 1, 1, 0, 0}, 3}, {square(6, 2, 32, 64), 2},
    {square(2, 8, 3, 16), 1},   {{4, 6, 6, 4, 8, 5, 5, 1, 1, 2, 2}, 2}, {{2, 5, 9, 8, 12, 2, 3, 2, 1, 0, 2}, 1}};

// Element `index` of [N,H,W,C] where NaN is tried: inside an image, so that it reaches every tap.
int64_t inner_element(const ConvShape& s) { return ((s.height / 2) * s.width + s.width / 2) * s.in_channels + 1; }

// x, stored in fp16 or fp32, the constants, the made array as the device stores it, and the other operands. All but
// grad_y begin at element `first` of an array.
struct Arrays {
  Arrays(const Problem& p, DType type, int64_t first_element = 0, int64_t first_constant = 0, bool with_nan = false)
      : first(first_element), constant(first_constant), group(p.group), s(p.shape) {
    std::vector<float>& xs = values = random_tensor(input_size(s), 1, 0.1f);
    if (with_nan) xs[static_cast<size_t>(inner_element(s))] = std::numeric_limits<float>::quiet_NaN();
    if (type == DType::f16)
      for (float& value : xs) value = widened(rounded<Half>(value));
    factors = random_factors(s, group);
    terms = random_terms(s, group);
    std::vector<float> hs;
    for (size_t i = 0; i < xs.size(); ++i) {
      const auto c = static_cast<size_t>(static_cast<int64_t>(i) / (input_size(s) / s.batch) / group * s.in_channels +
                                         static_cast<int64_t>(i) % s.in_channels);
      const float value = std::fma(xs[i], factors[c], terms[c]), positive = value <= 0 ? 0.0f : value;
      hs.push_back(type == DType::f16 ? widened(rounded<Half>(positive)) : positive);
    }
    const std::vector<double> formula = conv_operand_reference(s, group, xs, factors, terms);
    REQUIRE(compare(hs, formula, within(0x1p-10)) == "");
    gradients = random_tensor(output_size(s), 2, 0.1f);
    for (float& value : gradients) value = widened(rounded<BFloat16>(value));
    sign_values = random_tensor(s.batch * s.out_channels, 3);
    expected = second_moment_reference(s, {formula.begin(), formula.end()}, gradients, sign_values);
    const auto shifted = [](int64_t by, std::vector<float> values) {
      values.insert(values.begin(), static_cast<size_t>(by), 7.0f);
      return values;
    };
    store(x, type, shifted(first, xs));
    store(made, type, shifted(first, hs));
    store(grad_y, type == DType::f16 ? DType::bf16 : DType::f32, gradients);
    factor.emplace(shifted(constant, factors));
    term.emplace(shifted(constant, terms));
    signs.emplace(sign_values);
  }

  struct Stored {
    std::optional<StoredArray> halves;
    std::optional<Floats> floats;
    ConstValues on(const Queue& queue, int64_t from) {
      return halves ? ConstValues(halves->on(queue, from)) : ConstValues(floats->on(queue) + from);
    }
  };
  static void store(Stored& array, DType type, const std::vector<float>& values) {
    is_half(type) ? void(array.halves.emplace(type, values)) : void(array.floats.emplace(values));
  }

  ConvOperand operand(const Queue& queue) {
    return {x.on(queue, first), factor->on(queue) + constant, term->on(queue) + constant, group};
  }

  int64_t first, constant, group;
  ConvShape s;
  Stored x, made, grad_y;
  std::optional<Floats> factor, term, signs;
  std::vector<float> values, factors, terms, gradients, sign_values;  // as in the arrays, from element 0 on
  SecondMomentReference expected;
};

// What the ops compute of one input.
struct Results {
  explicit Results(const ConvShape& s)
      : start(random_tensor(s.weights(), 6)),
        plain(start),
        exact(start),
        square(start),
        with_signs(start),
        signed_sum(start),
        all(start),
        all_square(start),
        all_signed(start) {}

  void compute(Queue& q, const ConvShape& s, const ConvOperand& x, ConstValues grad_y, const float* signs) {
    conv_backward_weight(q, s, x, grad_y, plain.on(q));
    conv_second_moment_exact(q, s, x, grad_y, exact.on(q), square.on(q));
    conv_sample_sums(q, s, x, grad_y, SampleSums{.signed_sum = signed_sum.on(q), .signs = signs}, with_signs.on(q));
    conv_sample_sums(q, s, x, grad_y,
                     SampleSums{.second_moment = all_square.on(q), .signed_sum = all_signed.on(q), .signs = signs},
                     all.on(q));
    q.synchronize();
  }
  std::vector<const Floats*> list() const {
    return {&plain, &exact, &square, &with_signs, &signed_sum, &all, &all_square, &all_signed};
  }

  std::vector<float> start;
  Floats plain, exact, square, with_signs, signed_sum, all, all_square, all_signed;
};

std::vector<uint32_t> bits(const std::vector<float>& values) {
  std::vector<uint32_t> patterns;
  for (const float value : values) patterns.push_back(std::bit_cast<uint32_t>(value));
  return patterns;
}

// error: of operands rounded to the types of the route's products.
void check_operand(Queue& cuda, Arrays& a, double error) {
  CAPTURE(describe(a.s), a.group, a.first, a.constant);
  Results of_operand(a.s), of_made(a.s);
  of_operand.compute(cuda, a.s, a.operand(cuda), a.grad_y.on(cuda, 0), a.signs->on(cuda));
  of_made.compute(cuda, a.s, a.made.on(cuda, a.first), a.grad_y.on(cuda, 0), a.signs->on(cuda));
  for (size_t i = 0; i < of_operand.list().size(); ++i) {
    CAPTURE(i);
    CHECK(bits(of_operand.list()[i]->on_cuda()) == bits(of_made.list()[i]->on_cuda()));
  }
  const auto with_start = [&](std::vector<double> sums) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += of_operand.start[i];
    return sums;
  };
  for (const Floats* gradient : {&of_operand.plain, &of_operand.exact, &of_operand.with_signs, &of_operand.all})
    CHECK(compare(gradient->on_cuda(), with_start(a.expected.sum), within(error)) == "");
  for (const Floats* squares : {&of_operand.square, &of_operand.all_square})
    CHECK(compare(squares->on_cuda(), with_start(a.expected.exact), within(2 * error)) == "");
  for (const Floats* sum : {&of_operand.signed_sum, &of_operand.all_signed})
    CHECK(compare(sum->on_cuda(), with_start(a.expected.signed_sum), within(error)) == "");
}

constexpr double bf16_error = 0x1p-6;

}  // namespace

TEST_CASE("the window kernel makes its 16-bit input of other arrays") {
  Queue cuda({Backend::cuda, 0});
  cuda.set_precision(Precision::half);
  for (const Problem& p : windows) {
    REQUIRE(cuda::conv_window_halves(p.shape, cuda.cuda().shared_memory()) != nullptr);
    Arrays a(p, DType::f16);
    check_operand(cuda, a, bf16_error);
  }
}

TEST_CASE("other kernels read a copy of an input made of other arrays") {
  for (const char* library : {"off", "on"}) {
    const TemporaryFolder cache;
    const test::Variable folder("NSGD_CACHE", cache.path().string()), use("NSGD_CUDNN", library);
    CAPTURE(library);
    Queue cuda({Backend::cuda, 0});
    for (const Precision precision : {Precision::half, Precision::fp32}) {
      cuda.set_precision(precision);
      for (const Problem& p : others)
        for (const DType type : {DType::f16, DType::f32}) {
          CAPTURE(precision == Precision::half, name_of(type));
          Arrays a(p, type);
          check_operand(cuda, a, precision == Precision::half ? bf16_error : type == DType::f16 ? 0x1p-9 : 1e-5);
        }
    }
  }
}

TEST_CASE("the window kernel of fp32 reads a copy of an input made of other arrays") {
  Queue cuda({Backend::cuda, 0});
  for (const Precision precision : {Precision::tf32, Precision::fp32}) {
    cuda.set_precision(precision);
    Arrays a({square(4, 8, 32, 32), 2}, DType::f32);
    check_operand(cuda, a, precision == Precision::tf32 ? 0x1p-9 : 1e-5);
  }
}

TEST_CASE("asynchronous products read a copy of an input made of other arrays") {
  const test::Variable chosen("NSGD_WGMMA", "1");
  Queue cuda({Backend::cuda, 0});
  if (!cuda.cuda().wgmma()) return;  // not of compute capability 9.0
  cuda.set_precision(Precision::half);
  for (const Problem& p : {Problem{square(4, 8, 32, 64), 2}, {square(9, 4, 32, 64), 3}}) {
    Arrays a(p, DType::f16);
    check_operand(cuda, a, bf16_error);
  }
}

TEST_CASE("an input made of misaligned arrays, or with misaligned constants, has the same gradients") {
  Queue cuda({Backend::cuda, 0});
  cuda.set_precision(Precision::half);
  for (const auto& [first, constant] : {std::pair{1, 0}, {0, 1}, {8, 4}}) {
    Arrays a({square(4, 8, 32, 32), 2}, DType::f16, first, constant);
    check_operand(cuda, a, bf16_error);
  }
}

// Where the formula gives NaN, and nowhere else.
TEST_CASE("NaN goes through an input made of other arrays") {
  Queue cuda({Backend::cuda, 0});
  cuda.set_precision(Precision::half);
  for (const Problem& p : {windows[4], windows[7], others[0], others[2], others[4]}) {
    Arrays a(p, DType::f16, 0, 0, true);
    REQUIRE(std::ranges::any_of(a.expected.sum, [](double value) { return std::isnan(value); }));
    REQUIRE(std::ranges::any_of(a.expected.sum, [](double value) { return !std::isnan(value); }));
    check_operand(cuda, a, bf16_error);
  }
}

TEST_CASE("centred sums read a copy of an input made of other arrays") {
  Queue cuda({Backend::cuda, 0});
  cuda.set_precision(Precision::half);
  for (const Problem& p : {windows[3], others[2], others[4]}) {
    CAPTURE(describe(p.shape));
    const ConvShape& s = p.shape;
    Arrays a(p, DType::f16);
    const int64_t taps = s.weights() / s.out_channels, channels = s.batch * s.out_channels;
    const SampleOperands operands{random_tensor(taps, 7), random_tensor(s.weights(), 8), random_tensor(channels, 9),
                                  random_tensor(channels, 10), a.sign_values};
    const std::vector<double> formula = conv_operand_reference(s, p.group, a.values, a.factors, a.terms);
    const SampleSumsReference expected =
        sample_sums_reference(s, {formula.begin(), formula.end()}, a.gradients, operands);
    Floats tap_mean(operands.tap_mean), slope(operands.slope), sum(operands.channel_sum),
        product(operands.channel_product);
    const auto moment = [&](const ConvOperand& x) {
      Floats squares(std::vector<float>(static_cast<size_t>(s.weights()))), gradient(squares.on_cpu());
      conv_sample_sums(cuda, s, x, a.grad_y.on(cuda, 0),
                       {.second_moment = squares.on(cuda),
                        .tap_mean = tap_mean.on(cuda),
                        .slope = slope.on(cuda),
                        .channel_sum = sum.on(cuda),
                        .channel_product = product.on(cuda)},
                       gradient.on(cuda));
      cuda.synchronize();
      return squares.on_cuda();
    };
    const std::vector<float> squares = moment(a.operand(cuda));
    CHECK(bits(squares) == bits(moment(a.made.on(cuda, 0))));
    CHECK(compare(squares, expected.second_moment, within(0x1p-8)) == "");
  }
}

TEST_CASE("a weight gradient makes the input that the fused convolution made") {
  Queue cuda({Backend::cuda, 0});
  cuda.set_precision(Precision::half);
  for (const Problem& p : {Problem{square(2, 32, 16, 16), 1}, {square(4, 8, 64, 64), 2}}) {
    CAPTURE(describe(p.shape));
    const ConvShape& s = p.shape;
    Arrays a(p, DType::f16);
    StoredArray made(DType::f16, nan_tensor(input_size(s))), y(DType::f16, nan_tensor(output_size(s)));
    Floats weight(random_tensor(s.weights(), 7));
    const ConvOperand operand = a.operand(cuda);
    REQUIRE(conv_block_takes(cuda, {s, p.group}));
    conv_block_forward(cuda, {s, p.group}, {operand.x, operand.factor, operand.term, {}, made.on(cuda)},
                       weight.on(cuda), {}, y.on(cuda));
    const auto gradient = [&](const ConvOperand& x) {
      Floats sum(std::vector<float>(static_cast<size_t>(s.weights())));
      conv_backward_weight(cuda, s, x, a.grad_y.on(cuda, 0), sum.on(cuda));
      cuda.synchronize();
      return sum.on_cuda();
    };
    CHECK(bits(gradient(operand)) == bits(gradient(ConstValues(made.on(cuda)))));
  }
}

TEST_CASE("an input of a type that no kernel makes is refused") {
  Queue cuda({Backend::cuda, 0});
  const ConvShape s = square(2, 8, 32, 32);
  Floats constants(random_factors(s, 1)), sum(random_tensor(s.weights(), 1));
  StoredArray x(DType::bf16, random_tensor(input_size(s), 1));
  Floats x32(x.on_cpu());
  const ConvOperand operand{x.on(cuda), constants.on(cuda), constants.on(cuda), 1};
  CHECK_THROWS_WITH(conv_backward_weight(cuda, s, operand, x.on(cuda), sum.on(cuda)),
                    Catch::Matchers::Contains("not of bf16"));
  const ConvOperand floats{x32.on(cuda), constants.on(cuda), constants.on(cuda), 1};
  CHECK_THROWS_WITH(make_conv_operand(cuda, s, floats, x.on(cuda)), Catch::Matchers::Contains("bf16"));
  CHECK_THROWS_WITH(make_conv_operand(cuda, s, x32.on(cuda), x32.on(cuda)), Catch::Matchers::Contains("no factor"));
  StoredArray x16(DType::f16, x.on_cpu());
  const ConvOperand other_group{x16.on(cuda), constants.on(cuda), constants.on(cuda), 3};
  CHECK_THROWS_WITH(conv_sample_sums(cuda, s, other_group, x.on(cuda), {}, sum.on(cuda)),
                    Catch::Matchers::Contains("groups of 3"));
}

TEST_CASE("the input of a convolution is made by vectors and one by one") {
  BothQueues both;
  const auto check = [&](const Problem& p, int64_t x_first, int64_t h_first, bool halves, bool half_result) {
    const ConvShape& s = p.shape;
    CAPTURE(describe(s), p.group, x_first, h_first, halves, half_result);
    std::vector<float> xs = random_tensor(input_size(s) + x_first, 1, 0.1f);
    xs[static_cast<size_t>(x_first + input_size(s) - 2)] = std::numeric_limits<float>::quiet_NaN();
    StoredArray x16(DType::f16, xs), h16(DType::f16, nan_tensor(input_size(s) + h_first));
    Floats x32(x16.on_cpu()), h32(nan_tensor(input_size(s) + h_first));
    Floats factor(random_factors(s, p.group)), term(random_terms(s, p.group));
    const ConstValues x = halves ? ConstValues(x16.on(both.cuda, x_first)) : x32.on(both.cuda) + x_first;
    const Values h = half_result ? h16.on(both.cuda, h_first) : Values(h32.on(both.cuda) + h_first);
    make_conv_operand(both.cuda, s, {x, factor.on(both.cuda), term.on(both.cuda), p.group}, h);
    both.cuda.synchronize();
    std::vector<float> expected = nan_tensor(input_size(s) + h_first);
    make_conv_operand(both.cpu, s, {x32.on(both.cpu) + x_first, factor.on(both.cpu), term.on(both.cpu), p.group},
                      expected.data() + h_first);
    if (halves)
      for (float& value : expected) value = widened(rounded<Half>(value));
    REQUIRE(std::ranges::count_if(expected, [](float value) { return std::isnan(value); }) == 1 + h_first);
    const std::vector<float> actual = half_result ? h16.on_cuda() : h32.on_cuda();
    for (size_t i = 0; i < expected.size(); ++i)
      if (std::isnan(expected[i]) ? !std::isnan(actual[i]) : actual[i] != expected[i]) {
        CAPTURE(i, actual[i], expected[i]);
        FAIL_CHECK("another value");
        break;
      }
  };
  const Problem shapes[] = {
      {square(6, 3, 16, 4), 2}, {square(4, 5, 12, 4), 4}, {square(3, 2, 7, 4), 1}, {square(1, 1, 2, 1), 1}};
  for (const auto& [halves, half_result] : {std::pair{false, false}, {true, false}, {true, true}})
    for (const Problem& p : shapes)
      for (const auto& [x_first, h_first] : {std::pair{0, 0}, {1, 0}, {0, 1}})
        check(p, x_first, h_first, halves, half_result);
  check({square(6, 171, 3, 4), 3}, 0, 0, true, false);    // more elements than threads in the largest grid
  check({square(17, 125, 16, 4), 1}, 0, 0, true, false);  // and more vectors
  make_conv_operand(both.cuda, square(0, 3, 16, 4), {nullptr, Floats({1}).on(both.cuda), Floats({1}).on(both.cuda), 1},
                    Values());
}
