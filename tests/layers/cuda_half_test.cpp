// Training passes at Precision::half on the CUDA device, emulated or real, against fp32 on the CPU with images between
// layers rounded as the device stores them (core/stored_rounding.h).
#include <noisysgd/layers/model.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"

using namespace noisysgd;
using namespace noisysgd::test;
using kernels::Precision;
using kernels::SignGrain;

namespace {

constexpr int64_t samples = 8, classes = 3;
const Shape image{8, 8, 3};

struct Named {
  const char *name, *json;
  Shape input = image;
};

// Every type of layer that sees images, each with and without an epilogue.
const Named networks[] = {
    {"residual", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "bias": false}, {"type": "batch_norm"},
       {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "bias": false},
         {"type": "batch_norm"}]}, {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 32, "kernel": 3, "stride": 2, "padding": 1},
         {"type": "batch_norm"}, {"type": "relu"}],
         "shortcut": [{"type": "pad_channels", "channels": 32, "stride": 2}]},
       {"type": "global_average_pool"}, {"type": "linear"}]})"},
    {"projected", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1}, {"type": "batch_norm"}, {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 16, "kernel": 3, "stride": 2, "padding": 1},
         {"type": "batch_norm"}],
         "shortcut": [{"type": "conv2d", "out_channels": 16, "kernel": 1, "stride": 2}, {"type": "batch_norm"}]},
       {"type": "relu"}, {"type": "global_average_pool"}, {"type": "linear"}]})"},
    {"pooled", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 6, "kernel": 3}, {"type": "relu"}, {"type": "max_pool"},
       {"type": "dropout", "probability": 0.3},
       {"type": "conv2d", "out_channels": 8, "kernel": 2}, {"type": "average_pool"}, {"type": "flatten"},
       {"type": "linear", "out_features": 9}, {"type": "relu"}, {"type": "linear"}]})"},
    {"matrix", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 5, "kernel": 8}, {"type": "relu"},
       {"type": "conv2d", "out_channels": 4, "kernel": 1}, {"type": "relu"}, {"type": "flatten"}, {"type": "linear"}]})"},
};

// Convolutions that compute parts of the batch normalisations around them (layers/conv_block.h): of a sum, with and
// without a shortcut that reads it, and of no sum; the first reader of a value and a later one, after such a
// convolution or after another layer; read by another layer; without a ReLU; with another ghost size behind than
// before.
const Named blocks[] = {
    {"stages",
     R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "bias": false}, {"type": "batch_norm"},
       {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "bias": false},
         {"type": "batch_norm"}, {"type": "relu"},
         {"type": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "bias": false}, {"type": "batch_norm"}]},
       {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "bias": false},
         {"type": "batch_norm"}, {"type": "relu"},
         {"type": "conv2d", "out_channels": 16, "kernel": 3, "padding": 1, "bias": false}, {"type": "batch_norm"}]},
       {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 32, "kernel": 3, "stride": 2, "padding": 1,
           "bias": false}, {"type": "batch_norm"}, {"type": "relu"},
         {"type": "conv2d", "out_channels": 32, "kernel": 3, "padding": 1, "bias": false}, {"type": "batch_norm"}],
         "shortcut": [{"type": "conv2d", "out_channels": 32, "kernel": 1, "stride": 2, "bias": false},
           {"type": "batch_norm"}]},
       {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 32, "kernel": 3, "padding": 1, "bias": false},
         {"type": "batch_norm"}]}, {"type": "relu"},
       {"type": "global_average_pool"}, {"type": "linear"}]})",
     {32, 32, 3}},
    {"chain", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1}, {"type": "batch_norm"}, {"type": "relu"},
       {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false},
       {"type": "batch_norm", "ghost_size": 2}, {"type": "relu"},
       {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false}, {"type": "batch_norm"},
       {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false}, {"type": "batch_norm"},
       {"type": "relu"}, {"type": "max_pool"}, {"type": "global_average_pool"}, {"type": "linear"}]})"},
    {"sum", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1}, {"type": "batch_norm"}, {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false},
         {"type": "batch_norm"}]}, {"type": "relu"},
       {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false}, {"type": "batch_norm"},
       {"type": "relu"}, {"type": "global_average_pool"}, {"type": "linear"}]})"},
    {"later readers", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1}, {"type": "batch_norm"}, {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false},
           {"type": "batch_norm"}],
         "shortcut": [{"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false}]},
       {"type": "relu"}, {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1}, {"type": "batch_norm"},
       {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false},
           {"type": "batch_norm"}],
         "shortcut": [{"type": "conv2d", "out_channels": 64, "kernel": 1, "bias": false}, {"type": "batch_norm"}]},
       {"type": "relu"}, {"type": "global_average_pool"}, {"type": "linear"}]})"},
    {"read before", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1}, {"type": "batch_norm"}, {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false},
         {"type": "batch_norm"}],
         "shortcut": [{"type": "average_pool", "kernel": 3, "stride": 1, "padding": 1}]},
       {"type": "relu"}, {"type": "global_average_pool"}, {"type": "linear"}]})"},
    {"branches", R"({"type": "sequential", "layers": [
       {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1}, {"type": "batch_norm"}, {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false}],
         "shortcut": [{"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false}]},
       {"type": "batch_norm"}, {"type": "relu"},
       {"type": "residual", "body": [{"type": "conv2d", "out_channels": 64, "kernel": 1, "bias": false},
         {"type": "batch_norm"}],
         "shortcut": [{"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1, "bias": false},
           {"type": "batch_norm"}, {"type": "relu"}]},
       {"type": "relu"}, {"type": "global_average_pool"}, {"type": "linear"}]})"},
};

struct Outcome {
  std::vector<float> logits, gradient, second_moment, signed_sum, norms, input_factor;
};

Outcome outcome_of(Device device, const Named& network, const Statistics& statistics,
                   Labels fisher_labels = Labels::data) {
  Context context(device, 2);
  if (device.backend == Backend::cuda)
    context.queue.set_precision(Precision::half);
  else
    context.rounding = {DType::f16, DType::bf16};
  Model model(context, network_from(network.json, network.input, classes, 4), classes);
  model.parameter_set().initialise(7);
  Sums sums = all_sums(context, model.parameter_set());
  sums.sample_norms = zeros(context, {samples});
  if (statistics.kronecker_input || statistics.kronecker_output)
    sums.kronecker = kronecker_sums(context, model.parameter_set(), true);
  const Tensor logits(context, {samples, classes});
  accumulate(model, random_batch(context, network.input, samples, classes),
             {.collect = statistics,
              .fisher_labels = fisher_labels,
              .forward = {.samples = {.seed = 3}, .noise_step = 1, .logits = logits}},
             sums);
  const auto values = [&](const Block& block) { return values_of(context, model.parameters(), block); };
  Outcome all{to_host<float>(context, logits),
              values(sums.gradient),
              values(sums.second_moment),
              values(sums.signed_sum),
              to_host<float>(context, sums.sample_norms),
              {}};
  if (sums.kronecker) all.input_factor = to_host<float>(context, sums.kronecker->at(0).input);
  return all;
}

// Weights and images, which the CPU does not round, and values that fall on the other side of a rounding border, leave
// some multiples of the types' units.
void check_near(const std::vector<float>& half, const std::vector<float>& rounded, double bound) {
  REQUIRE(half.size() == rounded.size());
  CHECK(relative_error(half, to_double(rounded)) < bound);
}

void check_passes(const Named& network, const Statistics& statistics, Labels fisher_labels = Labels::data) {
  INFO(network.name << ", grain " << static_cast<int>(statistics.signs.grain));
  const Outcome cpu = outcome_of({}, network, statistics, fisher_labels),
                half = outcome_of({Backend::cuda}, network, statistics, fisher_labels);
  check_near(half.logits, cpu.logits, 1e-2);
  check_near(half.gradient, cpu.gradient, 3e-2);
  check_near(half.norms, cpu.norms, 5e-2);
  if (statistics.second_moment != SecondMoment::none) check_near(half.second_moment, cpu.second_moment, 5e-2);
  if (statistics.signs.grain != SignGrain::none) check_near(half.signed_sum, cpu.signed_sum, 5e-2);
  if (statistics.kronecker_input) check_near(half.input_factor, cpu.input_factor, 5e-3);
  CHECK(half.gradient != cpu.gradient);  // it is not fp32
}

}  // namespace

TEST_CASE("a pass at half computes what fp32 computes of rounded values, with every statistic") {
  for (const Named& network : networks) {
    check_passes(network, {.second_moment = SecondMoment::exact, .signs = {SignGrain::sample_channel, 0.5f}});
    check_passes(network, {.second_moment = SecondMoment::spatial, .signs = {SignGrain::sample_position, 0.5f}});
    check_passes(network, {.signs = {SignGrain::sample, 1.0f}});
    check_passes(network, {.kronecker_input = true, .kronecker_output = true});
  }
  check_passes(networks[0], {.second_moment = SecondMoment::exact, .center_normalised = true});
}

TEST_CASE("a pass at half with parts of batch normalisations in convolutions computes what fp32 does") {
  for (const Named& network : blocks) {
    check_passes(network, {.second_moment = SecondMoment::exact, .signs = {SignGrain::sample_channel, 0.5f}});
    check_passes(network, {.second_moment = SecondMoment::exact, .center_normalised = &network == blocks});
    if (&network == blocks) check_passes(network, {.kronecker_input = true, .kronecker_output = true});
    // Two backward passes of one forward pass.
    check_passes(network, {.second_moment = SecondMoment::exact}, Labels::uniform);
  }
}

TEST_CASE("at half images between layers are fp16, their gradients bf16, and inference stays fp32") {
  Context context({Backend::cuda}, 1);
  context.queue.set_precision(Precision::half);
  Model model(context, network_from(networks[0].json, image, classes, 4), classes);
  model.parameter_set().initialise(7);
  Tape tape;
  Forward pass{.context = context, .tape = &tape, .training = true, .images = DType::f16};
  int seen = 0;
  pass.observe = [&](const std::string& name, const Tensor& output) {
    CAPTURE(name);
    CHECK(output.dtype() == (output.shape().rank() == 4 ? DType::f16 : DType::f32));
    ++seen;
  };
  const Batch batch = random_batch(context, image, samples, classes);
  const Variable x = tape.leaf(as_type(context, batch.images, DType::f16));
  const Variable y = model.network().forward(pass, x);
  CHECK(seen > 8);
  tape.backward(context, y, from_host(context, y.value.shape(), random_tensor(y.value.elements(), 4)), {});
  CHECK(tape.gradient(x).dtype() == DType::bf16);
  CHECK(model.logits(batch.images).dtype() == DType::f32);
}

TEST_CASE("values that are stored in 16 bits are not rounded to 16 bits as well") {
  Context context({Backend::cuda}, 1);
  context.queue.set_precision(Precision::half);
  context.rounding = {DType::f16, DType::bf16};
  Model model(context, network_from(networks[3].json, image, classes), classes);
  CHECK_THROWS_WITH(accumulate(model, random_batch(context, image, samples, classes), {}, {}),
                    "NSGD_ROUND_STORED rounds values that are stored in fp32; at precision half they are stored in 16 "
                    "bits");
}

TEST_CASE("a gradient of another type than its value's is an error") {
  Context context({Backend::cuda}, 1);
  Tape tape;
  const Variable x = tape.leaf(Tensor(context, {2, 2, 2, 1}, DType::f16));
  const Variable y = tape.record(zeros(context, {1}), [&](BackwardPass& pass, const Tensor&) {
    pass.add_gradient(x.id, zeros(context, {2, 2, 2, 1}));
  });
  CHECK_THROWS_WITH(tape.backward(context, y, zeros(context, {1}), {}),
                    "gradient [2,2,2,1] of f32 for a value of shape [2,2,2,1] whose gradients are bf16");
}

TEST_CASE("the memory of a pass at half is little more than half of that in fp32") {
  const auto peak_of = [](Precision precision) {
    Context context({Backend::cuda}, 1);
    context.queue.set_precision(precision);
    Model model(context, network_from(networks[0].json, image, classes, 16), classes);
    model.parameter_set().initialise(7);
    const Batch batch = random_batch(context, image, 64, classes);
    const Sums sums{.gradient = Block(context, model.parameter_set())};
    const size_t before = context.allocator.use().active;
    context.allocator.reset_peak();
    accumulate(model, batch, {}, sums);
    return static_cast<double>(context.allocator.use().peak - before);
  };
  CHECK(peak_of(Precision::half) < 0.55 * peak_of(Precision::tf32));
}

TEST_CASE("a batch normalisation without a ReLU does not hold its output") {
  Context context({Backend::cuda}, 1);
  context.queue.set_precision(Precision::half);
  const std::string unit =
      R"({"type": "batch_norm"}, {"type": "average_pool", "kernel": 3, "stride": 1, "padding": 1}, )";
  Model model(context,
              network_from(R"({"type": "sequential", "layers": [)" + unit + unit + unit +
                               R"({"type": "global_average_pool"}, {"type": "linear"}]})",
                           {8, 8, 64}, classes, 4),
              classes);
  model.parameter_set().initialise(7);
  const Batch batch = random_batch(context, {8, 8, 64}, samples, classes);
  const Tensor images = as_type(context, batch.images, DType::f16);
  const size_t before = context.allocator.use().active;
  Tape tape;
  const Forward pass{.context = context, .tape = &tape, .training = true, .images = DType::f16};
  const Variable logits = model.network().forward(pass, {images});
  // The inputs of the second and third one, and little more.
  CHECK(context.allocator.use().active - before < 5 * images.bytes().size() / 2);
}
