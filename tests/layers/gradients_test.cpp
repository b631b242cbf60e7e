// Every layer through the tape: tests/layers/layer_check.h.
#include <fmt/format.h>
#include <rapidcheck.h>

#include <numeric>

#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/batch_norm.h>
#include <noisysgd/layers/conv2d.h>
#include <noisysgd/layers/linear.h>
#include <noisysgd/layers/pool.h>
#include <noisysgd/layers/reshape.h>
#include "tests/catch.h"
#include "tests/layers/layer_check.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

Formula linear_formula(int64_t samples, int64_t inputs, int64_t outputs) {
  return [=](const Vector& x, const std::vector<Vector>& parameters) {
    Vector y = reference::product(false, true, samples, outputs, inputs, x, parameters[0]);
    for (size_t i = 0; parameters.size() > 1 && i < y.size(); ++i)
      y[i] += parameters[1][i % static_cast<size_t>(outputs)];
    return y;
  };
}

Formula conv_formula(const kernels::ConvShape& shape) {
  return [=](const Vector& x, const std::vector<Vector>& parameters) {
    return reference::conv_forward(shape, x, parameters[0], parameters.size() > 1 ? parameters[1] : Vector());
  };
}

std::string check_conv(const kernels::ConvShape& shape, bool bias, SecondMoment kind) {
  Conv2dOptions options;
  options.out_channels = shape.out_channels;
  options.kernel = {shape.kernel_height, shape.kernel_width};
  options.stride = {shape.stride_height, shape.stride_width};
  options.padding = {shape.padding_height, shape.padding_width};
  options.bias = bias;
  Conv2d layer("conv", {shape.height, shape.width, shape.in_channels}, options);
  return check_layer(layer, conv_formula(shape), {.samples = shape.batch, .kind = kind});
}

std::string check_batch_norm(const Shape& input, int64_t samples, std::optional<int64_t> ghost_size) {
  BatchNormOptions options;
  options.ghost_size = ghost_size;
  BatchNorm layer("bn", input, options);
  const int64_t channels = input[-1], group = std::min(samples, ghost_size.value_or(samples));
  const kernels::BatchNormShape shape{samples, input.elements() / channels, channels, group};
  const Formula formula = [=](const Vector& x, const std::vector<Vector>& parameters) {
    return reference::batch_norm_forward(shape, 1e-5f, x, parameters[0], parameters[1]).y;
  };
  // Dividing by the deviation of a small group amplifies rounding of its input.
  return check_layer(layer, formula, {.samples = samples, .condition = 16});
}

// All different, none near zero, in random order: no kink and no tie within a central difference.
std::vector<float> distinct_values(int64_t n) {
  const std::vector<float> keys = random_tensor(n, 3);
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return keys[a] < keys[b]; });
  std::vector<float> values(keys.size());
  for (size_t rank = 0; rank < order.size(); ++rank)
    values[order[rank]] = 0.01f * (static_cast<float>(rank) - static_cast<float>(order.size() / 2) + 0.5f);
  return values;
}

}  // namespace

TEST_CASE("linear: value, gradients and second moments") {
  const auto [inputs, outputs, samples] =
      GENERATE(table<int64_t, int64_t, int64_t>({{1, 1, 1}, {5, 3, 4}, {7, 1, 3}, {1, 6, 5}, {33, 17, 9}}));
  for (const bool bias : {true, false}) {
    for (const SecondMoment kind : {SecondMoment::none, SecondMoment::exact, SecondMoment::spatial}) {
      Linear layer("linear", {inputs}, {outputs, bias});
      const auto formula = linear_formula(samples, inputs, outputs);
      CHECK(check_layer(layer, formula, {.samples = samples, .kind = kind}) == "");
    }
  }
}

TEST_CASE("conv2d: value, gradients and second moments of every estimator") {
  for (const SecondMoment kind : {SecondMoment::none, SecondMoment::exact, SecondMoment::spatial}) {
    CHECK(rc::check(fmt::format("any geometry, {}", name_of(kind)), [kind] {
      kernels::ConvShape shape{};
      shape.batch = *rc::gen::inRange<int64_t>(1, 4);
      shape.in_channels = *rc::gen::inRange<int64_t>(1, 4);
      shape.out_channels = *rc::gen::inRange<int64_t>(1, 4);
      shape.kernel_height = *rc::gen::inRange<int64_t>(1, 4);
      shape.kernel_width = *rc::gen::inRange<int64_t>(1, 4);
      shape.stride_height = *rc::gen::inRange<int64_t>(1, 4);
      shape.stride_width = *rc::gen::inRange<int64_t>(1, 4);
      shape.padding_height = *rc::gen::inRange<int64_t>(0, shape.kernel_height);
      shape.padding_width = *rc::gen::inRange<int64_t>(0, shape.kernel_width);
      shape.height = *rc::gen::inRange<int64_t>(shape.kernel_height, 7);
      shape.width = *rc::gen::inRange<int64_t>(shape.kernel_width, 7);
      RC_ASSERT(check_conv(shape, *rc::gen::arbitrary<bool>(), kind) == "");
    }));
  }
}

TEST_CASE("conv2d: exact and spatial estimators agree where there is one position") {
  const kernels::ConvShape shape{5, 4, 3, 2, 3, 4, 3, 1, 1, 0, 0};
  REQUIRE(shape.positions() == 1);
  Context context(test_device);
  std::vector<std::vector<float>> squares;
  for (const SecondMoment kind : {SecondMoment::exact, SecondMoment::spatial}) {
    Conv2d layer("conv", {4, 3, 2}, {.out_channels = 3, .kernel = {4, 3}});
    ParameterSet set(context, layer.parameters());
    const Sums sums = all_sums(context, set);
    set.initialise(1);
    Tape tape;
    const Variable y = layer.forward({context, &tape, true}, {from_host(context, {5, 4, 3, 2}, random_tensor(120, 1))});
    tape.backward(context, y, from_host(context, {5, 1, 1, 3}, random_tensor(15, 2)), {.statistics = {.second_moment = kind}, .into = sums});
    squares.push_back(to_host<float>(context, sums.second_moment.of(*set.list()[0])));
  }
  CHECK(compare(squares[0], to_double(squares[1])) == "");
}

TEST_CASE("batch_norm: value, gradients and second moments over ghost groups") {
  CHECK(check_batch_norm({4}, 6, {}) == "");
  CHECK(check_batch_norm({4}, 6, 3) == "");
  CHECK(check_batch_norm({3, 2, 5}, 4, {}) == "");
  CHECK(check_batch_norm({3, 2, 5}, 6, 2) == "");
  CHECK(check_batch_norm({3, 3, 1}, 4, 1) == "");   // a group of one image has its positions
  CHECK(check_batch_norm({2, 2, 17}, 3, 8) == "");  // fewer samples than the ghost size: one group
}

TEST_CASE("batch_norm refuses what it cannot normalise") {
  Context context(test_device);
  BatchNormOptions options;
  options.ghost_size = 4;
  BatchNorm layer("bn", {3}, options);
  const ParameterSet set(context, layer.parameters());
  bind_buffers(context, layer.buffers());
  Tape tape;
  const auto forward = [&](int64_t samples) {
    layer.forward({context, &tape, true}, {from_host(context, {samples, 3}, random_tensor(3 * samples, 1))});
  };
  CHECK_NOTHROW(forward(8));
  CHECK_THROWS_WITH(forward(6), "batch_norm 'bn': 6 samples are not a multiple of the ghost size 4");
  CHECK_THROWS_WITH(forward(1), "batch_norm 'bn': one value per channel has no variance; use a larger batch");
}

TEST_CASE("relu: value and gradient, input untouched") {
  Relu layer("relu", {3, 4, 5});
  const Formula formula = [](const Vector& x, const std::vector<Vector>&) {
    Vector y = x;
    for (double& value : y) value = std::max(value, 0.0);
    return y;
  };
  CHECK(check_layer(layer, formula, {.samples = 2, .x = distinct_values(120)}) == "");
}

TEST_CASE("pools: value and gradient") {
  const auto [kernel, stride, padding] =
      GENERATE(table<int64_t, int64_t, int64_t>({{2, 2, 0}, {3, 2, 1}, {3, 1, 1}, {2, 3, 0}, {1, 1, 0}, {4, 2, 2}}));
  const kernels::PoolShape shape{2, 6, 5, 3, kernel, stride, padding};
  const Shape input{6, 5, 3};
  const PoolOptions options{kernel, stride, padding};
  MaxPool max_pool("max", input, options);
  const Formula max_formula = [&](const Vector& x, const std::vector<Vector>&) {
    return reference::max_pool(shape, x).y;
  };
  CHECK(check_layer(max_pool, max_formula, {.samples = 2, .x = distinct_values(180)}) == "");
  AveragePool average_pool("average", input, options);
  const Formula average_formula = [&](const Vector& x, const std::vector<Vector>&) {
    return reference::average_pool(shape, x);
  };
  CHECK(check_layer(average_pool, average_formula, {.samples = 2}) == "");
}

TEST_CASE("global_average_pool: value and gradient") {
  GlobalAveragePool layer("pool", {3, 5, 4});
  const Formula formula = [](const Vector& x, const std::vector<Vector>&) {
    return reference::global_average_pool(3, 15, 4, x);
  };
  CHECK(check_layer(layer, formula) == "");
}

TEST_CASE("flatten: channels outermost, as PyTorch orders them") {
  for (const Shape& input : {Shape{2, 3, 4}, Shape{4, 5, 1}, Shape{1, 1, 6}}) {
    Flatten layer("flatten", input);
    const Formula formula = [&](const Vector& x, const std::vector<Vector>&) {
      const auto positions = static_cast<size_t>(input[0] * input[1]), channels = static_cast<size_t>(input[2]);
      Vector y(x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t n = i / (positions * channels), t = i / channels % positions, c = i % channels;
        y[(n * channels + c) * positions + t] = x[i];
      }
      return y;
    };
    CHECK(check_layer(layer, formula) == "");
  }
}

TEST_CASE("pad_channels: every stride-th pixel, then zero channels") {
  const int64_t height = 5, width = 4, channels = 2, stride = 2, padded = 5;
  PadChannels layer("pad", {height, width, channels}, stride, padded);
  REQUIRE(layer.output_shape() == Shape{3, 2, 5});
  const Formula formula = [&](const Vector& x, const std::vector<Vector>&) {
    Vector y;
    for (int64_t n = 0; n < 3; ++n)
      for (int64_t i = 0; i < height; i += stride)
        for (int64_t j = 0; j < width; j += stride)
          for (int64_t c = 0; c < padded; ++c)
            y.push_back(c < channels ? x[static_cast<size_t>(((n * height + i) * width + j) * channels + c)] : 0.0);
    return y;
  };
  CHECK(check_layer(layer, formula) == "");
}
