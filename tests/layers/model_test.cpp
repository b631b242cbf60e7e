// Whole networks through Model::accumulate: gradients against fp64, and independence of the micro-batches.
#include <noisysgd/layers/model.h>

#include <limits>
#include <numeric>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/gradcheck.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;
using reference::Vector;

namespace {

const Shape image{6, 5, 2};
constexpr int64_t classes = 3;

const std::string convolutional = R"({"type": "sequential", "layers": [
  {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1, "bias": false},
  {"type": "batch_norm"}, {"type": "relu"},
  {"type": "residual", "body": [{"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}]},
  {"type": "global_average_pool"}, {"type": "linear"}]})";

const std::string with_dropout = R"({"type": "mlp", "hidden": [16, 8], "dropout": 0.4})";

struct Trainee {
  Trainee(const std::string& json, std::optional<int64_t> ghost_size = {}, float smoothing = 0, int threads = 0)
      : context(test_device, threads),
        model(context, network_from(json, image, classes, ghost_size), classes,
              std::make_shared<SoftmaxCrossEntropy>(smoothing)) {
    model.parameter_set().initialise(7);
    sums = all_sums(context, model.parameter_set());
  }
  Batch batch(int64_t samples) { return random_batch(context, image, samples, classes); }
  // The sums over the batch, cut into micro-batches of the given size.
  kernels::LossSums accumulate(const Batch& batch, int64_t micro, Passes passes) {
    sums.zero(context);
    kernels::LossSums total;
    const Passes whole = passes;
    const auto rows = [](const Tensor& tensor, int64_t begin, int64_t end) {
      return tensor.defined() ? tensor.rows(begin, end) : Tensor();
    };
    for (int64_t begin = 0; begin < batch.size(); begin += micro) {
      const int64_t end = std::min(batch.size(), begin + micro);
      passes.forward.samples.offset = begin;
      passes.forward.sampled_labels = rows(whole.forward.sampled_labels, begin, end);
      passes.weights = rows(whole.weights, begin, end);
      passes.noise_weights = rows(whole.noise_weights, begin, end);
      const kernels::LossSums losses = test::accumulate(model, batch.rows(begin, end), passes, sums);
      total.loss += losses.loss;
      total.correct += losses.correct;
    }
    return total;
  }
  std::vector<float> all(Block Sums::*block) { return values_of(context, model.parameters(), sums.*block); }
  std::vector<float> values() {
    std::vector<float> values;
    for (const Parameter* parameter : model.parameters())
      for (const float value : to_host<float>(context, parameter->value)) values.push_back(value);
    return values;
  }

  Context context;
  Model model;
  Sums sums;
};

Passes collecting(SecondMoment kind) {
  return {.collect = {.second_moment = kind}, .forward = {.samples = {11, 4}, .noise_step = 4}};
}

}  // namespace

TEST_CASE("a network of convolutions, ghost batch norm and a residual sum has the gradient of its loss") {
  const int64_t samples = 6, ghost = 3, height = image[0], width = image[1];
  const double smoothing = 0.1;
  Trainee trainee(convolutional, ghost, static_cast<float>(smoothing));
  const Batch batch = trainee.batch(samples);
  trainee.accumulate(batch, samples, collecting(SecondMoment::none));

  const Vector x = to_double(to_host<float>(trainee.context, batch.images));
  const std::vector<int32_t> labels = to_host<int32_t>(trainee.context, batch.labels);
  const kernels::ConvShape first{samples, height, width, 2, 4, 3, 3, 1, 1, 1, 1},
      second{samples, height, width, 4, 4, 3, 3, 1, 1, 1, 1};
  const kernels::BatchNormShape normalised{samples, height * width, 4, ghost};
  const auto loss = [&](const Vector& flat) {
    std::vector<Vector> p;
    auto next = flat.begin();
    for (const Parameter* parameter : trainee.model.parameters()) {
      p.emplace_back(next, next + parameter->shape.elements());
      next += parameter->shape.elements();
    }
    Vector y = reference::conv_forward(first, x, p[0], {});
    y = reference::batch_norm_forward(normalised, 1e-5f, y, p[1], p[2]).y;
    for (double& value : y) value = std::max(value, 0.0);
    const Vector body = reference::conv_forward(second, y, p[3], p[4]);
    for (size_t i = 0; i < y.size(); ++i) y[i] += body[i];
    y = reference::global_average_pool(samples, height * width, 4, y);
    y = reference::product(false, true, samples, classes, 4, y, p[5]);
    for (size_t i = 0; i < y.size(); ++i) y[i] += p[6][i % classes];
    const Vector losses = reference::cross_entropy(samples, classes, y, labels, smoothing);
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  };
  // The difference step is so small that no ReLU changes sides; its curvature error is below fp32's rounding.
  const Vector expected = central_differences(loss, to_double(trainee.values()), 1e-6);
  CHECK(compare(trainee.all(&Sums::gradient), expected, {.terms = 1000, .condition = 4}) == "");
}

TEST_CASE("gradient, diag(F) and loss do not depend on micro-batching") {
  const std::string network = GENERATE_COPY(convolutional, with_dropout);
  const SecondMoment kind = GENERATE(SecondMoment::exact, SecondMoment::spatial);
  const Labels fisher_labels = GENERATE(Labels::data, Labels::sampled);
  Trainee trainee(network, 4);
  const Batch batch = trainee.batch(24);
  Passes options = collecting(kind);
  options.fisher_labels = fisher_labels;
  options.forward.sampled_labels = Tensor(trainee.context, {24}, DType::i32);

  const kernels::LossSums whole = trainee.accumulate(batch, 24, options);
  const std::vector<float> gradient = trainee.all(&Sums::gradient),
                           squares = trainee.all(&Sums::second_moment);
  const std::vector<int32_t> labels = to_host<int32_t>(trainee.context, options.forward.sampled_labels);
  for (const int64_t micro : {4, 8, 20}) {
    const kernels::LossSums cut = trainee.accumulate(batch, micro, options);
    CHECK(cut.loss == Approx(whole.loss).epsilon(1e-6));
    CHECK(cut.correct == whole.correct);
    CHECK(compare(trainee.all(&Sums::gradient), to_double(gradient), {.terms = 100}) == "");
    CHECK(compare(trainee.all(&Sums::second_moment), to_double(squares), {.terms = 100}) == "");
    if (fisher_labels == Labels::sampled)
      CHECK(to_host<int32_t>(trainee.context, options.forward.sampled_labels) == labels);
  }
}

// Every op cuts its work in pieces that do not depend on the number of threads.
TEST_CASE("gradient, diag(F), signed sums and loss have the same bits with any number of threads") {
  const std::string network = GENERATE_COPY(convolutional, with_dropout);
  const SecondMoment kind = GENERATE(SecondMoment::none, SecondMoment::exact, SecondMoment::spatial);
  const auto sums_with = [&](int threads) {
    Trainee trainee(network, 4, 0, threads);
    Passes options = collecting(kind);
    if (kind != SecondMoment::spatial) options.collect.signs.grain = kernels::SignGrain::sample;
    const kernels::LossSums loss = trainee.accumulate(trainee.batch(52), 52, options);
    std::vector<float> sums = trainee.all(&Sums::gradient);
    for (const auto block : {&Sums::second_moment, &Sums::signed_sum}) {
      const std::vector<float> more = trainee.all(block);
      sums.insert(sums.end(), more.begin(), more.end());
    }
    return std::pair{loss.loss, sums};
  };
  const auto one = sums_with(1);
  for (const int threads : {2, 3, 5}) {
    INFO(threads);
    const auto many = sums_with(threads);
    CHECK(many.first == one.first);
    CHECK(many.second == one.second);
  }
}

TEST_CASE("the sum of the per-sample contributions is the gradient, whichever statistic is collected with it") {
  Trainee trainee(convolutional, 4);
  const Batch batch = trainee.batch(8);
  trainee.accumulate(batch, 8, collecting(SecondMoment::none));
  const Vector plain = to_double(trainee.all(&Sums::gradient));
  for (const SecondMoment kind : {SecondMoment::exact, SecondMoment::spatial}) {
    trainee.accumulate(batch, 8, collecting(kind));
    CHECK(compare(trainee.all(&Sums::gradient), plain, {.terms = 100}) == "");
  }
}

TEST_CASE("the exact second moment is the sum over samples of squared gradients, one sample at a time") {
  Trainee trainee(with_dropout);
  const int64_t samples = 10;
  const Batch batch = trainee.batch(samples);
  trainee.accumulate(batch, samples, collecting(SecondMoment::exact));
  const std::vector<float> squares = trainee.all(&Sums::second_moment);
  Vector expected(squares.size());
  for (int64_t n = 0; n < samples; ++n) {
    trainee.sums.zero(trainee.context);
    Passes options = collecting(SecondMoment::none);
    options.forward.samples.offset = n;
    accumulate(trainee.model, batch.rows(n, n + 1), options, trainee.sums);
    const std::vector<float> gradient = trainee.all(&Sums::gradient);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += static_cast<double>(gradient[i]) * gradient[i];
  }
  CHECK(compare(squares, expected, {.terms = 100}) == "");
}

TEST_CASE("the exact diagonal is at most positions times the spatial one") {
  Trainee trainee(convolutional, 4);
  const Batch batch = trainee.batch(8);
  trainee.accumulate(batch, 8, collecting(SecondMoment::exact));
  const Parameter& filter = *trainee.model.parameters()[0];
  REQUIRE(filter.positions == image[0] * image[1]);
  const std::vector<float> exact = to_host<float>(trainee.context, trainee.sums.second_moment.of(filter));
  trainee.accumulate(batch, 8, collecting(SecondMoment::spatial));
  const std::vector<float> spatial = to_host<float>(trainee.context, trainee.sums.second_moment.of(filter));
  for (size_t i = 0; i < exact.size(); ++i)
    CHECK(exact[i] <= 1.0001f * static_cast<float>(filter.positions) * spatial[i]);
}

TEST_CASE("a loss scaled by c scales gradients by c and second moments by its square") {
  Trainee trainee(convolutional, 4);
  const Batch batch = trainee.batch(8);
  trainee.accumulate(batch, 8, collecting(SecondMoment::exact));
  Vector gradient = to_double(trainee.all(&Sums::gradient)),
         squares = to_double(trainee.all(&Sums::second_moment));
  const float c = 0.03125f / 3;
  Passes scaled = collecting(SecondMoment::exact);
  scaled.weights = Tensor(trainee.context, {8});
  fill(trainee.context, scaled.weights, c);
  trainee.accumulate(batch, 8, scaled);
  for (double& g : gradient) g *= c;
  for (double& q : squares) q *= static_cast<double>(c) * c;
  CHECK(compare(trainee.all(&Sums::gradient), gradient, {.terms = 100}) == "");
  CHECK(compare(trainee.all(&Sums::second_moment), squares, {.terms = 100}) == "");
}

TEST_CASE("statistics from sampled labels leave the gradient as it is") {
  Trainee trainee(convolutional, 4);
  Batch batch = trainee.batch(16);
  trainee.accumulate(batch, 16, collecting(SecondMoment::none));
  const std::vector<float> gradient = trainee.all(&Sums::gradient);
  Passes options = collecting(SecondMoment::exact);
  options.fisher_labels = Labels::sampled;
  options.forward.sampled_labels = Tensor(trainee.context, {16}, DType::i32);
  trainee.accumulate(batch, 16, options);
  CHECK(trainee.all(&Sums::gradient) == gradient);
  const std::vector<float> squares = trainee.all(&Sums::second_moment);

  batch.labels = options.forward.sampled_labels;
  trainee.accumulate(batch, 16, collecting(SecondMoment::exact));
  CHECK(trainee.all(&Sums::second_moment) == squares);
}

TEST_CASE("label smoothing does not affect the statistics and the noise from sampled labels") {
  Passes options = collecting(SecondMoment::exact);
  options.fisher_labels = Labels::sampled;
  Trainee plain(convolutional, 4), smoothed(convolutional, 4, 0.3f);
  for (Trainee* trainee : {&plain, &smoothed}) {
    options.noise_weights = from_host(trainee->context, {16}, random_tensor(16, 5));
    trainee->accumulate(trainee->batch(16), 16, options);
  }
  CHECK(smoothed.all(&Sums::second_moment) == plain.all(&Sums::second_moment));
  CHECK(smoothed.all(&Sums::signed_sum) == plain.all(&Sums::signed_sum));
  CHECK(plain.all(&Sums::signed_sum) != std::vector<float>(plain.all(&Sums::signed_sum).size()));
  CHECK(smoothed.all(&Sums::gradient) != plain.all(&Sums::gradient));
}

TEST_CASE("a batch is cut to whole ghost groups") {
  Trainee grouped(convolutional, 4), plain(with_dropout);
  CHECK(grouped.model.coupling().usable(23) == 20);
  CHECK(grouped.model.coupling().usable(24) == 24);
  CHECK(grouped.model.coupling().usable(3) == 3);  // fewer than a group: one smaller group
  CHECK(plain.model.coupling().usable(23) == 23);
}

TEST_CASE("evaluation has no dropout, runs on running statistics, and reports losses of its logits") {
  for (const std::string& network : {convolutional, with_dropout}) {
    Trainee trainee(network, 4);
    const Batch batch = trainee.batch(8);
    const auto logits_of = [&](const Tensor& images) {
      return to_host<float>(trainee.context, trainee.model.logits(images));
    };
    const std::vector<float> values = logits_of(batch.images);
    CHECK(logits_of(batch.images) == values);
    // A sample gives the same values alone and in a batch.
    CHECK(compare(logits_of(batch.rows(2, 3).images),
                  Vector(values.begin() + 2 * classes, values.begin() + 3 * classes), {.terms = 100}) == "");
    const std::vector<int32_t> labels = to_host<int32_t>(trainee.context, batch.labels);
    const Vector losses =
        reference::cross_entropy(8, classes, {values.begin(), values.end()}, {labels.begin(), labels.end()}, 0.0);
    const DeviceValue<kernels::LossSums> sums(trainee.context);
    trainee.model.evaluate(batch, sums.place());
    CHECK(sums.read().loss == Approx(std::accumulate(losses.begin(), losses.end(), 0.0)));
  }
}

TEST_CASE("the first layer that shows a NaN is named") {
  Trainee trainee(convolutional, 4);
  const Batch batch = trainee.batch(8);
  CHECK(trainee.model.first_nonfinite_layer(batch, {.samples = {1, 0}}).empty());
  const Parameter& broken = *trainee.model.parameters()[3];
  std::vector<float> values = to_host<float>(trainee.context, broken.value);
  values[0] = std::numeric_limits<float>::quiet_NaN();
  copy_from_host<float>(trainee.context, values, broken.value);
  CHECK(trainee.model.first_nonfinite_layer(batch, {.samples = {1, 0}}) == "block1.conv1");
}

TEST_CASE("a network must end in one score per class") {
  Context context(test_device);
  CHECK_THROWS_WITH(Model(context, network_from(R"({"type": "flatten"})", image, classes), classes),
                    "model: the network's output [60] is not one score for each of 3 classes");
}
