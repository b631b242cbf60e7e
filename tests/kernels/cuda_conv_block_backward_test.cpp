// The data gradient of the fused convolutions, both twins against one reference in fp64 that is written from the
// formula. cuda_conv_block_test.cpp has the forward pass.
#include <noisysgd/kernels/conv_block.h>

#include "tests/catch.h"
#include "tests/kernels/conv_block_values.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;
using Vector = std::vector<double>;

namespace {

std::vector<float> positive_part(std::vector<float> values) {
  for (float& value : values) value = std::max(value, 0.0f);
  return values;
}

// A backward pass on both devices, through the ReLU of a batch norm or of a sum.
struct Backward {
  ConvBlockShape shape;
  bool of_sum;
  StoredArray<BFloat16> grad, other, made, grad_x;
  StoredArray<Half> y, x, sum;
  Floats factor_grad, factor_y, term_y, factor, term, mean, weight, sums;

  Backward(const ConvBlockShape& s, bool through_sum)
      : shape(s),
        of_sum(through_sum),
        grad(stored<BFloat16>(random_tensor(s.elements(), 1, 0.1f))),
        other(stored<BFloat16>(random_tensor(s.elements(), 2))),
        made(nans<BFloat16>(s.elements())),
        grad_x(nans<BFloat16>(s.elements())),
        y(stored<Half>(random_tensor(s.elements(), 3, 0.2f))),
        x(stored<Half>(random_tensor(s.elements(), 4, 0.4f))),
        sum(stored<Half>(positive_part(random_tensor(s.elements(), 6, 0.3f)))),
        factor_grad(constants(s, 7, 0.5f, 1)),
        factor_y(constants(s, 8, -0.1f, 0.3f)),
        term_y(constants(s, 9, 0.05f, 0.2f)),
        factor(constants(s, 10, 0.4f, 1)),
        term(constants(s, 11, 0.1f, 0.5f)),
        mean(constants(s, 12, 0.4f, 0.3f)),
        weight(weights(s)),
        sums(nan_tensor(s.conv.batch * s.bands() * s.conv.in_channels * 2)) {}

  ConvBlockGradient gradient(Queue& queue) {
    return {.grad = grad.values(queue),
            .y = y.values(queue),
            .factor_grad = factor_grad.on(queue),
            .factor_y = factor_y.on(queue),
            .term = term_y.on(queue),
            .made = made.values(queue)};
  }
  ConvBlockBefore before(Queue& queue) {
    ConvBlockBefore before{.x = x.values(queue), .mean = mean.on(queue), .sums = sums.on(queue)};
    if (of_sum)
      before.sum = sum.values(queue), before.other = other.values(queue);
    else
      before.factor = factor.on(queue), before.term = term.on(queue);
    return before;
  }
  void run(Queue& queue) {
    conv_block_backward_data(queue, shape, weight.on(queue), gradient(queue), before(queue), grad_x.values(queue));
    queue.synchronize();
  }
};

void check_made(const Backward& pass, const std::vector<BFloat16>& made) {
  const Vector grads = doubles(pass.grad.on_cpu()), ys = doubles(pass.y.on_cpu());
  Vector expected, terms;
  for (size_t i = 0; i < grads.size(); ++i) {
    const size_t c = constant_of(pass.shape, i);
    expected.push_back(grads[i] * pass.factor_grad.on_cpu()[c] + ys[i] * pass.factor_y.on_cpu()[c] +
                       pass.term_y.on_cpu()[c]);
    terms.push_back(0.1);  // two roundings of numbers below 4
  }
  CHECK(compare_stored(made, expected, terms) == "");
}

// Of the gradients that were made, as they are stored.
void check_grad_x(const Backward& pass, const std::vector<BFloat16>& made, const std::vector<BFloat16>& grad_x) {
  const ConvBlockShape& s = pass.shape;
  const Vector operand = doubles(made), filter = doubles(stored<BFloat16>(pass.weight.on_cpu()));
  const Vector xs = doubles(pass.x.on_cpu()), signs = doubles(pass.sum.on_cpu()), others = doubles(pass.other.on_cpu());
  Vector expected = reference::conv_backward(s.conv, xs, filter, operand).x;
  Vector magnitudes = reference::conv_backward(s.conv, xs, sizes(filter), sizes(operand)).x;
  size_t masked = 0, unclear = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const size_t c = constant_of(s, i);
    const double input = pass.of_sum ? signs[i] : xs[i] * pass.factor.on_cpu()[c] + pass.term.on_cpu()[c];
    if (pass.of_sum) expected[i] += others[i], magnitudes[i] += std::fabs(expected[i]);
    unclear += input != 0 && std::fabs(input) < 1e-7;
    if (input > 0) continue;
    expected[i] = magnitudes[i] = 0;
    ++masked;
  }
  CHECK(unclear == 0);  // inputs whose sign depends on rounding
  CHECK(compare_stored(grad_x, expected, magnitudes) == "");
  CHECK(masked > expected.size() / 10);
  CHECK(masked < expected.size() / 2);
}

// Of the gradients as they are stored.
void check_sums(const Backward& pass, const std::vector<BFloat16>& grad_x, const std::vector<float>& sums) {
  const ConvBlockShape& s = pass.shape;
  const Vector grads = doubles(grad_x), xs = doubles(pass.x.on_cpu());
  const auto channels = static_cast<size_t>(s.conv.in_channels);
  const auto band_positions = static_cast<size_t>(s.conv.width * std::min<int64_t>(s.conv.height, 16));
  Vector expected(pass.sums.on_cpu().size());
  for (size_t i = 0; i < grads.size(); ++i) {
    const size_t at = (i / channels / band_positions * channels + i % channels) * 2;
    expected[at] += grads[i];
    expected[at + 1] += grads[i] * (xs[i] - pass.mean.on_cpu()[constant_of(s, i)]);
  }
  CHECK(compare(sums, expected, {.terms = static_cast<double>(band_positions), .condition = 2}) == "");
}

}  // namespace

TEST_CASE("fused convolutions mask and sum the data gradient of a batch norm's gradient") {
  BothQueues queues;
  for (const ConvBlockShape& s : conv_block_shapes)
    for (const bool of_sum : {false, true}) {
      Backward pass(s, of_sum);
      queues.run([&](Queue& queue) {
        CAPTURE(s.conv.batch, s.group, s.conv.height, of_sum, queue.device().name());
        pass.run(queue);
        const std::vector<BFloat16> made = pass.made.result(queue), grad_x = pass.grad_x.result(queue);
        check_made(pass, made);
        check_grad_x(pass, made, grad_x);
        const bool on_cpu = queue.device().backend == Backend::cpu;
        check_sums(pass, grad_x, on_cpu ? pass.sums.on_cpu() : pass.sums.on_cuda());
      });
    }
}

TEST_CASE("fused convolutions need not store the gradient that they are given") {
  Queue queue({Backend::cuda});
  for (const ConvBlockShape& s : {square(3, 1, 32, 16), square(3, 3, 16, 32), square(3, 3, 8, 64)}) {
    CAPTURE(s.conv.height);
    Backward all(s, true), part(s, true);
    all.run(queue);
    ConvBlockGradient gradient = part.gradient(queue);
    gradient.made = {};
    conv_block_backward_data(queue, s, part.weight.on(queue), gradient, part.before(queue), part.grad_x.values(queue));
    queue.synchronize();
    CHECK((all.grad_x.on_cuda() == part.grad_x.on_cuda()));
    CHECK(all.sums.on_cuda() == part.sums.on_cuda());
    CHECK(all_nan(part.made.on_cuda()));
  }
}

TEST_CASE("fused convolutions name what is wrong with a gradient") {
  using Catch::Matchers::Contains;
  BothQueues queues;
  Backward pass(square(2, 1, 16, 32), true);
  queues.run([&](Queue& queue) {
    CAPTURE(queue.device().name());
    ConvBlockGradient gradient = pass.gradient(queue);
    ConvBlockBefore before = pass.before(queue);
    const auto call = [&](const ConvBlockShape& s) {
      conv_block_backward_data(queue, s, pass.weight.on(queue), gradient, before, pass.grad_x.values(queue));
    };
    gradient.y.type = DType::bf16;
    CHECK_THROWS_WITH(call(pass.shape), Contains("y is bf16, expected an array of f16"));
    gradient = pass.gradient(queue);
    gradient.grad.type = DType::f16;
    CHECK_THROWS_WITH(call(pass.shape), Contains("grad is f16, expected an array of bf16"));
    gradient = pass.gradient(queue);
    gradient.factor_y = nullptr;
    CHECK_THROWS_WITH(call(pass.shape), Contains("must not be null"));
    gradient = pass.gradient(queue);
    before.factor = pass.factor.on(queue), before.term = pass.term.on(queue);
    CHECK_THROWS_WITH(call(pass.shape), Contains("one of factor and term, or of sum and other"));
    before = pass.before(queue);
    before.other = {};
    CHECK_THROWS_WITH(call(pass.shape), Contains("one of factor and term, or of sum and other"));
    before = pass.before(queue);
    CHECK_NOTHROW(call(square(0, 1, 16, 32)));
  });
  CHECK(all_nan(pass.grad_x.on_cuda()));
}
