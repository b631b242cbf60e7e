// Sums with random signs that backward adds to Sums::signed_sum: a parameter's gradient is linear in the gradient
// of its layer's output, so they are the gradient for an output gradient that has the signs already.
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;
using kernels::SignGrain;

namespace {

constexpr int64_t samples = 6, group = 3;
constexpr uint64_t seed = 7;
constexpr uint32_t step = 5;
constexpr float scale = 0.5f;

float sign(SignGrain grain, int64_t n, int64_t t, int64_t k, int64_t positions, int64_t channels) {
  const auto m = static_cast<uint64_t>(n), place = m * static_cast<uint64_t>(positions) + static_cast<uint64_t>(t);
  const auto channel = static_cast<uint64_t>(k), width = static_cast<uint64_t>(channels);
  const uint64_t i = grain == SignGrain::sample            ? m
                     : grain == SignGrain::sample_channel  ? m * width + channel
                     : grain == SignGrain::sample_position ? place
                                                           : place * width + channel;
  const RandomStream stream{seed, step, 0, RandomPurpose::noise_signs};  // of the layer whose first parameter is 0
  return random_word(stream, i / 32) >> (i % 32) & 1u ? -scale : scale;
}

struct Trained {
  Trained(const std::string& layer, const Shape& input)
      : context(test_device), network(network_from(layer, input, 5)), set(context, network->parameters()), sums(all_sums(context, set)) {
    bind_buffers(context, network->buffers());
    uint32_t stream = 20;
    for (const Parameter* parameter : set.list())
      copy_from_host<float>(context, random_tensor(parameter->shape.elements(), ++stream, 0.3f), parameter->value);
    const Shape images = input.batched(samples);
    x = from_host(context, images, random_tensor(images.elements(), 1, 0.5f));
  }

  void backward(const std::vector<float>& cotangent, const Statistics& statistics) {
    sums.zero(context);
    const int64_t size = network->output_shape().elements();
    for (int64_t begin = 0; begin < samples; begin += group) {
      Tape tape;
      const Variable output = network->forward({context, &tape, true}, tape.leaf(x.rows(begin, begin + group)));
      const std::vector<float> rows(cotangent.begin() + begin * size, cotangent.begin() + (begin + group) * size);
      tape.backward(context, output, from_host(context, output.value.shape(), rows),
                    {.statistics = statistics, .into = sums, .samples = {seed, step, begin}});
    }
  }

  Context context;
  std::unique_ptr<Layer> network;
  ParameterSet set;
  Sums sums;
  Tensor x;
};

}  // namespace

TEST_CASE("signed sums are gradients of an output gradient with signs, and change nothing else") {
  const auto [layer, input] = GENERATE(table<std::string, Shape>(
      {{R"({"type": "conv2d", "out_channels": 5, "kernel": 3, "padding": 1, "stride": 2})", Shape{6, 5, 2}},
       {R"({"type": "conv2d", "out_channels": 3, "kernel": 2, "bias": false})", Shape{4, 4, 3}},
       {R"({"type": "linear"})", Shape{7}},
       {R"({"type": "batch_norm", "ghost_size": 3})", Shape{4, 3, 5}},
       {R"({"type": "batch_norm", "ghost_size": 3})", Shape{9}}}));
  const SignGrain grain = GENERATE(SignGrain::sample, SignGrain::sample_channel, SignGrain::sample_position);
  const SecondMoment kind = GENERATE(SecondMoment::none, SecondMoment::exact, SecondMoment::spatial);
  INFO(layer << " grain " << static_cast<int>(grain) << " second moment " << static_cast<int>(kind));
  Trained trained(layer, input);
  const Shape& out = trained.network->output_shape();
  const int64_t channels = out[-1], positions = out.elements() / channels;
  const std::vector<float> cotangent = random_tensor(samples * out.elements(), 2, 0.2f);
  std::vector<float> with_signs = cotangent;
  for (int64_t i = 0; i < static_cast<int64_t>(with_signs.size()); ++i)
    with_signs[static_cast<size_t>(i)] *=
        sign(grain, i / out.elements(), i / channels % positions, i % channels, positions, channels);
  const auto values = [&](const Block& block) {
    std::vector<std::vector<float>> all;
    for (const Parameter* parameter : trained.set.list())
      all.push_back(to_host<float>(trained.context, block.of(*parameter)));
    return all;
  };
  trained.backward(with_signs, {});
  const auto expected = values(trained.sums.gradient);
  trained.backward(cotangent, {.second_moment = kind});
  const auto gradient = values(trained.sums.gradient), moment = values(trained.sums.second_moment);
  Statistics statistics{.second_moment = kind};
  statistics.signs = {grain, scale};
  trained.backward(cotangent, statistics);
  const auto noise = values(trained.sums.signed_sum);
  for (size_t i = 0; i < expected.size(); ++i) {
    const Tolerance tolerance{.terms = static_cast<double>(samples * positions), .condition = 4};  // signs cancel
    CHECK(compare(noise[i], to_double(expected[i]), tolerance) == "");
    CHECK(compare(values(trained.sums.gradient)[i], to_double(gradient[i]), tolerance) == "");
    CHECK(values(trained.sums.second_moment)[i] == moment[i]);
  }
}

TEST_CASE("layers without a weight for every channel have no signed sums if signs replace the gradient") {
  Trained trained(R"({"type": "batch_norm", "ghost_size": 3})", {4, 3, 5});
  Statistics statistics;
  statistics.signs = {SignGrain::element, scale};
  trained.backward(random_tensor(samples * 60, 2), statistics);
  for (const Parameter* parameter : trained.set.list())
    for (const float value : to_host<float>(trained.context, trained.sums.signed_sum.of(*parameter))) CHECK(value == 0);
}
