// Training with values and gradients rounded to numbers of 16 bits (NSGD_ROUND_STORED).
#include <noisysgd/core/stored_rounding.h>

#include <algorithm>
#include <functional>

#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/layers/network.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;
using kernels::BFloat16, kernels::Half, kernels::rounded, kernels::widened;

namespace {

constexpr int64_t samples = 6, classes = 3;
const Shape image{6, 6, 2};

// Layers that write over their input, return it, read it twice, and have epilogues.
const std::string network = R"({"type": "sequential", "layers": [
  {"type": "dropout", "probability": 0.0},
  {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}, {"type": "batch_norm"}, {"type": "relu"},
  {"type": "residual", "body": [{"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}, {"type": "batch_norm"}]},
  {"type": "relu"}, {"type": "dropout", "probability": 0.3}, {"type": "max_pool", "kernel": 2},
  {"type": "conv2d", "out_channels": 5, "kernel": 3}, {"type": "relu"},
  {"type": "flatten"}, {"type": "linear"}]})";

template <class T>
bool all_of_type(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float value) { return widened(rounded<T>(value)) == value; });
}

Batch batch_on(Context& context) { return random_batch(context, image, samples, classes); }

}  // namespace

TEST_CASE("the environment chooses the rounding of stored values") {
  const auto in_environment = [](const std::string& name) {
    const test::Variable variable("NSGD_ROUND_STORED", name);
    return Context(test_device, 1).rounding;
  };
  CHECK_FALSE(in_environment("").values);
  CHECK_FALSE(in_environment("").gradients);
  CHECK(in_environment("half").values == DType::f16);
  CHECK(in_environment("half").gradients == DType::bf16);
  CHECK(in_environment("bf16").values == DType::bf16);
  CHECK(in_environment("bf16").gradients == DType::bf16);
  CHECK_THROWS_WITH(in_environment("fp16"), "NSGD_ROUND_STORED: 'fp16' is neither half nor bf16");
}

// Calls check(name, output) for every layer.
void observe_layers(Context& context, bool training,
                    const std::function<void(const std::string&, const Tensor&)>& check) {
  const auto layers = network_from(network, image, classes, 3);
  ParameterSet parameters(context, layers->parameters());
  parameters.initialise(3);
  bind_buffers(context, layers->buffers());
  const Batch batch = batch_on(context);
  const std::vector<float> images = to_host<float>(context, batch.images);
  Tape tape;
  Forward pass{context, training ? &tape : nullptr, training};
  pass.observe = check;
  layers->forward(pass, {batch.images});
  CHECK(to_host<float>(context, batch.images) == images);
}

TEST_CASE("images between layers hold numbers of the stored type; the network's images and vectors are not rounded") {
  for (const bool training : {true, false})
    for (const bool rounds : {true, false}) {
      Context context(test_device, 1);
      if (rounds) context.rounding = {DType::f16, DType::bf16};
      int checked = 0;
      observe_layers(context, training, [&](const std::string& name, const Tensor& output) {
        CAPTURE(training, rounds, name);
        const bool returns_images = checked++ == 0, is_rounded = output.shape().rank() == 4 || name == "flatten1";
        CHECK(all_of_type<Half>(to_host<float>(context, output)) == (rounds && is_rounded && !returns_images));
      });
      CHECK(checked >= 8);
    }
}

TEST_CASE("gradients between layers hold numbers of the stored type") {
  for (const bool rounds : {true, false}) {
    Context context(test_device, 1);
    if (rounds) context.rounding.gradients = DType::bf16;
    const auto layers = network_from(network, image, classes, 3);
    ParameterSet parameters(context, layers->parameters());
    parameters.initialise(3);
    bind_buffers(context, layers->buffers());
    Tape tape;
    const auto x = tape.leaf(batch_on(context).images);
    const auto y = layers->forward({context, &tape, true}, x);
    tape.backward(context, y, from_host(context, y.value.shape(), random_tensor(y.value.elements(), 5)), {});
    CHECK(all_of_type<BFloat16>(to_host<float>(context, tape.gradient(x))) == rounds);
  }
}

TEST_CASE("the sum of a value's gradients is rounded") {
  Context context(test_device, 1);
  context.rounding.gradients = DType::bf16;
  Tape tape;
  const Shape shape{1, 1, 1, 1};
  const auto x = tape.leaf(zeros(context, shape));
  const auto y = tape.record(zeros(context, shape), [&](BackwardPass& pass, const Tensor&) {
    for (const float part : {1.0f, 0x1p-8f, 0x1p-7f})
      pass.add_gradient(x.id, from_host(context, shape, std::vector{part}));
  });
  tape.backward(context, y, zeros(context, shape), {});
  CHECK(to_host<float>(context, tape.gradient(x))[0] == 1 + 0x1p-7f);  // the first sum is a tie, rounded to 1
}

TEST_CASE("a weight gradient has both operands in the type of the gradients") {
  const float value = 1 + 3 * 0x1p-9f;
  for (const bool rounds : {true, false}) {
    Context context(test_device, 1);
    if (rounds) context.rounding.gradients = DType::bf16;
    const auto layer =
        network_from(R"({"type": "conv2d", "out_channels": 1, "kernel": 1, "bias": false})", {1, 1, 1}, 1);
    ParameterSet parameters(context, layer->parameters());
    parameters.initialise(3);
    const Tensor x = from_host(context, {1, 1, 1, 1}, std::vector{value});
    Tape tape;
    const auto y = layer->forward({context, &tape, true}, {x});
    const Sums sums{.gradient = Block(context, parameters)};
    tape.backward(context, y, from_host(context, {1, 1, 1, 1}, std::vector{1.0f}), {.into = sums});
    CHECK(to_host<float>(context, sums.gradient.of(*layer->parameters()[0]))[0] == (rounds ? 1 + 0x1p-7f : value));
    CHECK(to_host<float>(context, x)[0] == value);
  }
}
