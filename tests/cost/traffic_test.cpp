// The bytes that training moves, counted by the race checker's build, against the sum over its passes. A pass that is
// fused into another one must be taken out of the sums here.
#include <noisysgd/kernels/emulation/traffic.h>

#include <utility>

#include <noisysgd/kernels/emulation/scheduler.h>
#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/batch_norm.h>
#include <noisysgd/layers/conv2d.h>
#include "tests/catch.h"
#include "tests/cost/byte_model.h"
#include "tests/cost/resnet_step.h"
#include "tests/kernels/square_conv.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::test;
using emulation::Traffic;

namespace {

class WithoutRaces {  // other tests look for them
 public:
  WithoutRaces() : before_(std::exchange(emulation::options().races, false)) {}
  ~WithoutRaces() { emulation::options().races = before_; }

 private:
  bool before_;
};

using Kernels = std::map<std::string, Traffic>;

// What is moved in addition to `before`. The model leaves out the partial sums of statistics and the like.
void check(const Bytes& expected, const Kernels& moved, const Kernels& before = {}) {
  const Traffic all = sum_of(moved), less = sum_of(before);
  INFO(emulation::list_of(moved));
  CHECK(static_cast<double>(all.bytes_read - less.bytes_read) == Approx(expected.read).epsilon(0.02));
  CHECK(static_cast<double>(all.bytes_written - less.bytes_written) == Approx(expected.written).epsilon(0.02));
}

// The traffic of `call` alone.
template <class Call>
Kernels traffic_of(Context& context, const Call& call) {
  context.queue.synchronize();
  emulation::reset_traffic();
  call();
  context.queue.synchronize();
  return emulation::traffic();
}

constexpr int64_t samples = 8;
const Shape image{32, 32, 16};

// `count` residual blocks of two 3x3 convolutions in sequence, as layers/models/resnet.cpp has them.
std::unique_ptr<Layer> blocks(int64_t count) {
  const Conv2dOptions conv3x3{.out_channels = 16, .kernel = {3, 3}, .padding = {1, 1}, .bias = false};
  const BatchNormOptions norm{samples / 2};
  NetworkBuilder net("", image);
  for (int64_t i = 0; i < count; ++i) {
    NetworkBuilder body(std::to_string(i), image), shortcut(std::to_string(i), image);
    body.add<Conv2d>("conv", conv3x3).add<BatchNorm>("bn", norm).add<Relu>("relu");
    body.add<Conv2d>("conv", conv3x3).add<BatchNorm>("bn", norm);
    net.append(std::make_unique<Residual>(net.next_name("block"), body.build(), shortcut.build())).add<Relu>("relu");
  }
  return net.build();
}

struct Moved {
  Kernels forward, backward;
};

// By a training pass over `count` blocks. The gradient arrives in one part.
Moved moved_by(int64_t count, kernels::Precision precision) {
  Context context({Backend::cuda}, 1);
  context.queue.set_precision(precision);
  const DType images = precision == kernels::Precision::half ? DType::f16 : DType::f32;
  const auto network = blocks(count);
  ParameterSet parameters(context, network->parameters());
  bind_buffers(context, network->buffers());
  parameters.initialise(1);
  const Sums sums{.gradient = Block(context, parameters)};
  const Shape batch = image.batched(samples);
  Tape tape;
  const auto random = [&](uint32_t stream, DType type) {
    return as_type(context, from_host(context, batch, random_tensor(batch.elements(), stream)), type);
  };
  const Variable x = tape.leaf(random(1, images));
  const Tensor seed = random(2, gradient_type(images));
  Variable y;
  Moved moved;
  moved.forward = traffic_of(context, [&] {
    y = network->forward({.context = context, .tape = &tape, .training = true, .images = images}, x);
  });
  moved.backward = traffic_of(context, [&] { tape.backward(context, y, seed, {.into = sums}); });
  return moved;
}

}  // namespace

TEST_CASE("a residual block moves its tensors as often as its passes need them") {
  const WithoutRaces without_races;
  constexpr auto tf32 = kernels::Precision::tf32;
  const Moved two = moved_by(2, tf32), three = moved_by(3, tf32);  // one more block, in whose output two gradients meet
  const ConvBytes conv3x3(square(samples, 32, 16, 16, 3, 1));
  const NormBytes norm{conv3x3.x};
  Bytes forward, backward;
  for (const Bytes& pass : {conv3x3.forward(), norm.forward(), conv3x3.forward(), norm.forward_with_addend()})
    forward += pass;
  for (const Bytes& pass : {norm.backward_of_sum(true), conv3x3.backward(), norm.backward(), conv3x3.backward()})
    backward += pass;
  check(forward, three.forward, two.forward);
  check(backward, three.backward, two.backward);
  // In tensors of the block, 11 and 21, and weights. Lower these when a pass is fused into another one.
  CHECK(forward.sum() <= 11.1 * conv3x3.x);
  CHECK(backward.sum() <= 21.9 * conv3x3.x);
}

TEST_CASE("at half a residual block moves six tensors forward and sixteen backward") {
  const WithoutRaces without_races;
  constexpr auto half = kernels::Precision::half;
  const Moved two = moved_by(2, half), three = moved_by(3, half);
  const ConvBytes conv3x3(square(samples, 32, 16, 16, 3, 1), true);
  const double p = conv3x3.x, weights = conv3x3.weights;
  // First convolution: reads the second one's result of the block before and that block's input; writes its output and
  // the own result. Second convolution: reads that, and writes its own.
  const Bytes forward{3 * p + 2 * weights, 3 * p};
  // Each data gradient reads the gradient and the result of its convolution, and writes the gradient of that result and
  // of what was normalised before it. The second one also reads the result before it; the first one reads that, the
  // output of the block before, and the gradient of the sum.
  Bytes backward{3 * p + 5 * p + 2 * weights, 2 * p + 2 * p};
  for (int i = 0; i < 2; ++i) backward += conv3x3.weight_gradient();
  check(forward, three.forward, two.forward);
  check(backward, three.backward, two.backward);
  CHECK(forward.sum() <= 6.3 * p);
  CHECK(backward.sum() <= 17 * p);
}

TEST_CASE("a step of a residual network moves the bytes of its passes") {
  const WithoutRaces without_races;
  constexpr int64_t depth = 8, count = (depth - 2) / 6;  // blocks of a stage
  Context context({Backend::cuda}, 1);
  context.queue.set_precision(kernels::Precision::tf32);
  ResnetSteps steps(context, depth, samples, {{"type", "none"}}, SecondMoment::none);
  steps.run();
  const Kernels moved = traffic_of(context, [&] { steps.run(); });

  Bytes expected;
  const auto add = [&](std::initializer_list<Bytes> passes) {
    for (const Bytes& pass : passes) expected += pass;
  };
  double weights = 0;
  const ConvBytes stem(square(samples, 32, 3, 16, 3, 1));
  weights += stem.weights;
  add({{stem.x / 4, stem.x}});  // images are gathered from bytes
  add({stem.forward(), stem.weight_gradient(), NormBytes{stem.y}.forward(), NormBytes{stem.y}.backward_of_two()});
  double last = 0;
  for (int64_t stage = 0; stage < 3; ++stage)
    for (int64_t block = 0; block < count; ++block) {
      const bool entry = stage > 0 && block == 0, end = stage == 2 && block == count - 1;
      const int64_t size = 32 >> stage, channels = 16 << stage;
      const ConvBytes first(entry ? square(samples, 2 * size, channels / 2, channels, 3, 2)
                                  : square(samples, size, channels, channels, 3, 1));
      const ConvBytes second(square(samples, size, channels, channels, 3, 1));
      const NormBytes norm{second.y};
      add({first.forward(), norm.forward(), second.forward(), norm.forward_with_addend()});
      add({norm.backward_of_sum(!end), second.backward(), norm.backward(), first.backward()});
      weights += first.weights + second.weights;
      last = second.y;
      if (!entry) continue;
      const ConvBytes shortcut(square(samples, 2 * size, channels / 2, channels, 1, 2));
      add({shortcut.forward(), norm.forward(), norm.backward(), shortcut.backward()});
      weights += shortcut.weights;
    }
  add({{last, last}});                // average pooling
  add({{3 * weights, 2 * weights}});  // SGD: gradient, momentum and values
  add({{0, weights}});                // the sums are cleared
  check(expected, moved);
}

// Partial sums of weight gradients, which are fp32 in both, are a large part of the bytes of so small a batch.
TEST_CASE("a step at half moves little more than half of the bytes of one in tf32") {
  const WithoutRaces without_races;
  const auto bytes_of = [](kernels::Precision precision) {
    Context context({Backend::cuda}, 1);
    context.queue.set_precision(precision);
    ResnetSteps steps(context, 14, samples, {{"type", "none"}}, SecondMoment::none);
    steps.run();
    const Kernels moved = traffic_of(context, [&] { steps.run(); });
    UNSCOPED_INFO(emulation::list_of(moved));
    const Traffic all = sum_of(moved);
    return static_cast<double>(all.bytes_read + all.bytes_written);
  };
  CHECK(bytes_of(kernels::Precision::half) < 0.54 * bytes_of(kernels::Precision::tf32));
}
