// The gradient of every sample as a row, collected in one backward pass: what passes over single samples give.
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

constexpr int64_t samples = 6, classes = 3;
const Shape image{7, 6, 2};

const char* const plain = R"({"type": "sequential", "layers": [
  {"type": "conv2d", "out_channels": 5, "kernel": 3, "stride": 2, "padding": 1}, {"type": "relu"},
  {"type": "conv2d", "out_channels": 4, "kernel": 2, "bias": false}, {"type": "relu"}, {"type": "flatten"},
  {"type": "linear", "out_features": 9}, {"type": "relu"}, {"type": "linear", "bias": false}]})";
const char* const normalised = R"({"type": "sequential", "layers": [
  {"type": "conv2d", "out_channels": 4, "kernel": 3}, {"type": "batch_norm"}, {"type": "relu"},
  {"type": "flatten"}, {"type": "linear"}]})";

struct Network {
  explicit Network(const char* json, std::optional<int64_t> ghost_size = {})
      : context(test_device, 2),
        model(context, network_from(json, image, classes, ghost_size), classes),
        batch(random_batch(context, image, samples, classes)) {
    uint32_t stream = 20;
    for (const Parameter* parameter : model.parameters())
      copy_from_host<float>(context, random_tensor(parameter->shape.elements(), ++stream, 0.1f, 0.4f),
                            parameter->value);
  }
  // The rows of the batch in passes of `micro` samples, beside what else is wanted.
  std::vector<float> rows(int64_t micro, Sums sums = {}, const Statistics& collect = {}) {
    sums.sample_gradients = zeros(context, {samples, model.parameter_set().padded()});
    for (int64_t begin = 0; begin < samples; begin += micro)
      accumulate(model, batch.rows(begin, begin + micro),
                 {.collect = collect, .forward = {.samples = {.offset = begin}}}, sums);
    return to_host<float>(context, sums.sample_gradients);
  }

  Context context;
  Model model;
  Batch batch;
};

}  // namespace

TEST_CASE("rows are the gradients of passes over single samples") {
  Network net(plain);
  const Block gradient(net.context, net.model.parameter_set());
  std::vector<double> expected;
  for (int64_t n = 0; n < samples; ++n) {
    fill(net.context, gradient.all(), 0.0f);
    accumulate(net.model, net.batch.rows(n, n + 1), {}, {.gradient = gradient});
    for (const float value : to_host<float>(net.context, gradient.all())) expected.push_back(value);
  }
  const int64_t micro = GENERATE(6, 3, 2, 1);
  CHECK(compare(net.rows(micro), expected, within(1e-5)) == "");
  CHECK(compare(net.rows(micro, {.gradient = gradient}), expected, within(1e-5)) == "");
}

TEST_CASE("rows add up to the gradient and their squares to the exact second moment, batch normalisation included") {
  Network net(normalised, 3);
  const int64_t micro = GENERATE(6, 3);
  const bool signs = GENERATE(false, true);
  const Sums sums = all_sums(net.context, net.model.parameter_set());
  const std::vector<float> rows =
      net.rows(micro, sums, {.second_moment = SecondMoment::exact,
                             .signs = {signs ? kernels::SignGrain::sample : kernels::SignGrain::none}});
  const size_t width = rows.size() / samples;
  std::vector<double> gradient(width), squares(width);
  for (size_t i = 0; i < rows.size(); ++i) {
    gradient[i % width] += rows[i];
    squares[i % width] += static_cast<double>(rows[i]) * rows[i];
  }
  CHECK(compare(to_host<float>(net.context, sums.gradient.all()), gradient, within(1e-5)) == "");
  CHECK(compare(to_host<float>(net.context, sums.second_moment.all()), squares, within(1e-5)) == "");
}
