// Losses of a user's own in a model: of ops of either backend, and of a formula for the processor.
#include <noisysgd/layers/loss.h>

#include <algorithm>
#include <numeric>

#include <noisysgd/kernels/elementwise.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/error_of.h"
#include "tests/gradcheck.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"
#include "tests/reference/reference.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;
using reference::Vector;

namespace {

const Shape image{3, 2, 1};
constexpr int64_t classes = 3, samples = 8;

// Cross-entropy of softmax(z/T), from ops of the device.
class Tempered : public Loss {
 public:
  explicit Tempered(float temperature) : inverse_(1 / temperature) {}
  void evaluate(const LossCall& call) const override {
    const Tensor scaled = scale(call.context, call.logits);
    SoftmaxCrossEntropy(0.2f).evaluate(
        {call.context, scaled, call.labels, call.targets, call.weights, call.gradient, call.sums});
    if (call.gradient.defined())
      kernels::scale(call.context.queue, scaled.elements(), inverse_, call.gradient.f32(), call.gradient.f32());
  }
  bool samples_labels() const override { return true; }
  void sample_labels(Context& context, const Tensor& logits, const RandomStream& stream, int64_t offset,
                     const Tensor& labels) const override {
    SoftmaxCrossEntropy().sample_labels(context, scale(context, logits), stream, offset, labels);
  }
  void describe(Graph& graph, const std::string& scores) const override {
    graph.add({"loss", "tempered", {scores}, Shape{}});
  }

 private:
  Tensor scale(Context& context, const Tensor& logits) const {
    Tensor scaled(context, logits.shape());
    kernels::scale(context.queue, scaled.elements(), inverse_, logits.f32(), scaled.f32());
    return scaled;
  }
  float inverse_;
};

// The sum of the scores, whatever the label.
class ScoreSum : public SampleLoss {
 public:
  void describe(Graph& graph, const std::string& scores) const override {
    graph.add({"loss", "sum", {scores}, Shape{}});
  }

 private:
  double sample_loss(std::span<const float> z, int32_t, Targets, std::span<float> gradient) const override {
    std::fill(gradient.begin(), gradient.end(), 1.0f);
    return std::accumulate(z.begin(), z.end(), 0.0);
  }
};

struct Trainee {
  explicit Trainee(std::shared_ptr<const Loss> loss)
      : context(test_device), model(context, network_from(R"({"type": "mlp", "hidden": []})", image, classes), classes, loss) {
    model.parameter_set().initialise(7);
    sums = all_sums(context, model.parameter_set());
    batch = random_batch(context, image, samples, classes);
  }
  Vector values() {
    Vector values;
    for (const Parameter* parameter : model.parameters())
      for (const float value : to_host<float>(context, parameter->value)) values.push_back(value);
    return values;
  }
  std::vector<float> gradient() { return values_of(context, model.parameters(), sums.gradient); }

  Context context;
  Model model;
  Sums sums;
  Batch batch;
};

}  // namespace

TEST_CASE("a user-defined loss has its gradient in the parameters, with the data's labels and with sampled ones") {
  const double temperature = 2.5;
  const Labels at = GENERATE(Labels::data, Labels::sampled);
  Trainee trainee(std::make_shared<Tempered>(static_cast<float>(temperature)));
  const Vector x = to_double(to_host<float>(trainee.context, trainee.batch.images));
  const Tensor sampled(trainee.context, {samples}, DType::i32);
  const BackwardJob job{.loss = {at, {}}, .into = trainee.sums};
  trainee.model.accumulate(trainee.batch, {.samples = {11, 4}, .sampled_labels = sampled}, {&job, 1});
  const Tensor& used = at == Labels::data ? trainee.batch.labels : sampled;
  const std::vector<int32_t> labels = to_host<int32_t>(trainee.context, used);
  const auto loss = [&](const Vector& flat) {
    const int64_t features = image.elements();
    const Vector weight(flat.begin(), flat.begin() + classes * features), bias(flat.begin() + classes * features, flat.end());
    Vector z = reference::product(false, true, samples, classes, features, x, weight);
    for (size_t i = 0; i < z.size(); ++i) z[i] = (z[i] + bias[i % classes]) / temperature;
    const Vector losses = reference::cross_entropy(samples, classes, z, labels, at == Labels::data ? 0.2 : 0);
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  };
  const Vector expected = central_differences(loss, trainee.values(), 1e-6);
  CHECK(compare(trainee.gradient(), expected, {.terms = 100, .condition = 4}) == "");
}

TEST_CASE("labels of label noise are drawn by the loss: hot scores are nearly uniform") {
  Trainee cold(std::make_shared<Tempered>(1e-4f)), hot(std::make_shared<Tempered>(1e4f));
  std::vector<int32_t> labels[2];
  for (Trainee* trainee : {&cold, &hot}) {
    const Tensor sampled(trainee->context, {samples}, DType::i32);
    const BackwardJob job{.loss = {Labels::sampled, {}}, .into = trainee->sums};
    trainee->model.accumulate(trainee->batch, {.samples = {11, 4}, .sampled_labels = sampled}, {&job, 1});
    labels[trainee == &hot] = to_host<int32_t>(trainee->context, sampled);
  }
  const std::vector<float> z = to_host<float>(cold.context, cold.model.logits(cold.batch.images));
  std::vector<int32_t> largest;
  for (int64_t n = 0; n < samples; ++n) {
    const auto row = z.begin() + n * classes;
    largest.push_back(static_cast<int32_t>(std::max_element(row, row + classes) - row));
  }
  CHECK(labels[0] == largest);
  CHECK(labels[1] != largest);
}

TEST_CASE("a loss given by a formula trains on the CPU and is refused on other devices") {
  const auto loss = std::make_shared<ScoreSum>();
  if (test_device.backend == Backend::cuda) {
    CHECK(error_of([&] { Trainee trainee(loss); }) ==
          "loss.type: this loss runs only on the CPU; use --device cpu");
    return;
  }
  Trainee trainee(loss);
  const DeviceValue<kernels::LossSums> losses(trainee.context);
  const BackwardJob job{.into = trainee.sums, .losses = losses.place()};
  trainee.model.accumulate(trainee.batch, {}, {&job, 1});
  const std::vector<float> z = to_host<float>(trainee.context, trainee.model.logits(trainee.batch.images));
  CHECK(losses.read().loss == Approx(std::accumulate(z.begin(), z.end(), 0.0)));
  CHECK(trainee.gradient().back() == samples);  // of a bias
  const BackwardJob at_sampled{.loss = {Labels::sampled, {}}, .into = trainee.sums};
  CHECK(error_of([&] { trainee.model.accumulate(trainee.batch, {}, {&at_sampled, 1}); }) ==
        "loss.type: this loss defines no label probabilities, so labels cannot be sampled");
}
