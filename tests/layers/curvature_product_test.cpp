// Products with curvature matrices against exact second derivatives in fp64 (tests/layers/graph_reference.h), and the
// identities that tie the three matrices together.
#include <noisysgd/layers/curvature_product.h>

#include <numeric>

#include <noisysgd/layers/activation.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/error_of.h"
#include "tests/gradcheck.h"
#include "tests/layers/collected.h"
#include "tests/layers/graph_reference.h"
#include "tests/layers/network.h"
#include "tests/layers/trained.h"
#include "tests/reference/reference.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::test;
using reference::Vector;

namespace {

const Shape image{6, 5, 2};
constexpr int64_t classes = 3;

struct Subject {
  Subject(const std::string& json, bool folded = false, float smoothing = 0, const Shape& input = image)
      : context(test_device),
        model(trained(context, network_from(json, input, classes), classes, folded,
                      std::make_shared<SoftmaxCrossEntropy>(smoothing))) {}
  Block block(uint32_t stream) {
    Block block(context, model.parameter_set());
    for (const Parameter* parameter : model.parameters())
      copy_from_host<float>(context, random_tensor(parameter->shape.elements(), stream + parameter->index),
                            block.of(*parameter));
    return block;
  }
  std::vector<float> values(const Block& block) { return values_of(context, model.parameters(), block); }
  std::vector<float> product(const CurvatureOptions& options, const Batch& batch, const Block& direction) {
    const Block sum(context, model.parameter_set());
    CurvatureProduct(model, options).add(batch, direction, sum);
    return values(sum);
  }

  Context context;
  Model model;
};

// The product in fp64.
Vector expected_product(Subject& subject, const CurvatureOptions& options, double smoothing, const Batch& batch,
                        const std::vector<float>& direction) {
  GraphReference network(subject.model);
  const std::vector<HyperDual*> parameters = network.parameters();
  const std::vector<float> images = to_host<float>(subject.context, batch.images);
  const std::vector<int32_t> labels = to_host<int32_t>(subject.context, batch.labels);
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i]->s = direction[i];
  Vector product(parameters.size());
  const size_t size = images.size() / labels.size();
  for (size_t i = 0; i < parameters.size(); ++i) {
    parameters[i]->t = 1;
    for (size_t n = 0; n < labels.size(); ++n) {
      Numbers z = network.logits({images.begin() + n * size, images.begin() + (n + 1) * size});
      HyperDual sum, target;
      for (size_t k = 0; k < z.size(); ++k) {
        z[k] = z[k] * options.inverse_temperature;
        sum += exp(z[k]);
        const double share = smoothing / static_cast<double>(z.size());
        target += z[k] * (share + (static_cast<int32_t>(k) == labels[n] ? 1 - smoothing : 0));
      }
      const HyperDual loss = log(sum) - target;
      if (options.matrix == CurvatureMatrix::hessian) product[i] += loss.st;
      if (options.matrix == CurvatureMatrix::fisher) product[i] += loss.s * loss.t;
      if (options.matrix != CurvatureMatrix::gauss_newton) continue;
      double st = 0, s = 0, t = 0;  // of the covariance of the tangents under the prediction
      for (const HyperDual& score : z) {
        const double p = std::exp(score.value) / sum.value;
        st += p * score.s * score.t;
        s += p * score.s;
        t += p * score.t;
      }
      product[i] += st - s * t;
    }
    parameters[i]->t = 0;
  }
  return product;
}

const std::string residual = R"({"type": "sequential", "layers": [
  {"type": "conv2d", "out_channels": 3, "kernel": 3, "padding": 1, "bias": false}, {"type": "batch_norm"},
  {"type": "relu"},
  {"type": "residual", "body": [{"type": "conv2d", "out_channels": 3, "kernel": [3, 1], "padding": [1, 0]},
                                {"type": "batch_norm"}]},
  {"type": "relu"},
  {"type": "residual", "body": [{"type": "conv2d", "out_channels": 5, "kernel": 3, "stride": 2, "padding": 1},
                                {"type": "relu"}],
                       "shortcut": [{"type": "pad_channels", "channels": 5, "stride": 2}]},
  {"type": "global_average_pool"}, {"type": "linear"}]})";

const std::string pools = R"({"type": "sequential", "layers": [
  {"type": "residual", "body": [{"type": "conv2d", "out_channels": 2, "kernel": 3, "padding": 1}]},
  {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1}, {"type": "dropout"},
  {"type": "conv2d", "out_channels": 3, "kernel": 2}, {"type": "average_pool", "kernel": 2, "stride": 1, "padding": 1},
  {"type": "flatten"}, {"type": "linear", "out_features": 4, "bias": false}, {"type": "batch_norm"},
  {"type": "relu"}, {"type": "linear"}]})";

const std::string tiny = R"({"type": "sequential", "layers": [
  {"type": "conv2d", "out_channels": 2, "kernel": 3, "stride": 2}, {"type": "relu"}, {"type": "max_pool", "kernel": 2},
  {"type": "flatten"}, {"type": "linear", "out_features": 3}, {"type": "relu"}, {"type": "linear"}]})";

// The reference is exact; rounding to fp32 happens in every layer, forward and backward.
const Tolerance rounding = within(1e-5);

double dot(const std::vector<float>& a, const std::vector<float>& b) { return test::dot(to_double(a), to_double(b)); }

}  // namespace

TEST_CASE("products of every layer and matrix are those of exact derivatives") {
  const auto matrix = GENERATE(CurvatureMatrix::hessian, CurvatureMatrix::gauss_newton, CurvatureMatrix::fisher);
  const bool folded = GENERATE(false, true);
  for (const std::string& json : {residual, pools}) {
    CAPTURE(static_cast<int>(matrix), folded, json);
    Subject subject(json, folded, 0.1f);
    const Batch batch = random_batch(subject.context, image, 3, classes);
    const Block direction = subject.block(100);
    const CurvatureOptions options{.matrix = matrix, .inverse_temperature = 0.7};
    const Vector expected = expected_product(subject, options, 0.1f, batch, subject.values(direction));
    CHECK(compare(subject.product(options, batch, direction), expected, rounding) == "");
  }
}

TEST_CASE("the plain loss is that of the labels alone") {
  Subject subject(tiny, false, 0.3f);
  const Batch batch = random_batch(subject.context, image, 4, classes);
  const Block direction = subject.block(100);
  const CurvatureOptions options{.matrix = CurvatureMatrix::fisher, .targets = Targets::label};
  const Vector expected = expected_product(subject, options, 0, batch, subject.values(direction));
  CHECK(compare(subject.product(options, batch, direction), expected, rounding) == "");
}

TEST_CASE("products with the basis are the dense Hessian, which is symmetric") {
  Subject subject(tiny);
  const Batch batch = random_batch(subject.context, image, 5, classes);
  const auto size = static_cast<size_t>(subject.model.parameter_set().elements());
  std::vector<float> dense;
  Vector expected;
  for (size_t i = 0; i < size; ++i) {
    std::vector<float> unit(size);
    unit[i] = 1;
    const Block direction(subject.context, subject.model.parameter_set());
    auto next = unit.cbegin();
    for (const Parameter* parameter : subject.model.parameters()) {
      const auto end = next + parameter->shape.elements();
      copy_from_host<float>(subject.context, std::vector<float>(next, end), direction.of(*parameter));
      next = end;
    }
    const std::vector<float> column = subject.product({}, batch, direction);
    const Vector exact = expected_product(subject, {}, 0, batch, unit);
    dense.insert(dense.end(), column.begin(), column.end());
    expected.insert(expected.end(), exact.begin(), exact.end());
  }
  CHECK(compare(dense, expected, rounding) == "");
  Vector transposed;
  for (size_t i = 0; i < size; ++i)
    for (size_t j = 0; j < size; ++j) transposed.push_back(dense[j * size + i]);
  CHECK(compare(dense, transposed, rounding) == "");
}

TEST_CASE("products with a folded residual network are symmetric, and semi-definite but for the Hessian") {
  const std::string shortcut = GENERATE("projection", "identity_pad");
  Subject subject(R"({"type": "resnet", "depth": 8, "shortcut": ")" + shortcut + R"("})", true, 0, {12, 12, 3});
  const Batch batch = random_batch(subject.context, {12, 12, 3}, 6, classes);
  const Block u = subject.block(100), v = subject.block(300);
  const std::vector<float> u_values = subject.values(u), v_values = subject.values(v);
  for (const auto matrix : {CurvatureMatrix::hessian, CurvatureMatrix::gauss_newton, CurvatureMatrix::fisher}) {
    CAPTURE(shortcut, static_cast<int>(matrix));
    const std::vector<float> of_v = subject.product({.matrix = matrix}, batch, v),
                             of_u = subject.product({.matrix = matrix}, batch, u);
    const double norms = std::sqrt(dot(u_values, u_values) * dot(of_v, of_v));
    CHECK(norms > 0);
    CHECK(std::abs(dot(u_values, of_v) - dot(v_values, of_u)) < 1e-5 * norms);
    if (matrix == CurvatureMatrix::hessian) continue;
    CHECK(dot(v_values, of_v) > 0);
    CHECK(dot(u_values, of_u) > 0);
  }
}

TEST_CASE("the Gauss-Newton matrix is the Fisher matrix in the mean over the model's own labels") {
  Subject subject(pools, true);
  const int64_t samples = 4;
  Batch batch = random_batch(subject.context, image, samples, classes);
  const Block direction = subject.block(100);
  const std::vector<float> gauss_newton = subject.product({.matrix = CurvatureMatrix::gauss_newton}, batch, direction);
  const Vector probabilities = reference::softmax(
      samples, classes, to_double(to_host<float>(subject.context, subject.model.logits(batch.images))));
  Vector mean(gauss_newton.size());
  for (int32_t label = 0; label < classes; ++label) {
    copy_from_host<int32_t>(subject.context, std::vector<int32_t>(samples, label), batch.labels);
    for (int64_t n = 0; n < samples; ++n) {
      const std::vector<float> fisher =
          subject.product({.matrix = CurvatureMatrix::fisher}, batch.rows(n, n + 1), direction);
      for (size_t i = 0; i < mean.size(); ++i) mean[i] += probabilities[n * classes + label] * fisher[i];
    }
  }
  CHECK(compare(gauss_newton, mean, rounding) == "");
}

TEST_CASE("the Fisher matrix is the sum over samples of the outer products of their gradients") {
  Subject subject(residual, true);
  const int64_t samples = 5;
  const Batch batch = random_batch(subject.context, image, samples, classes);
  const Block direction = subject.block(100);
  const std::vector<float> values = subject.values(direction);
  Vector sum(values.size());
  for (int64_t n = 0; n < samples; ++n) {
    const Sums sums{.gradient = Block(subject.context, subject.model.parameter_set())};
    accumulate(subject.model, batch.rows(n, n + 1), {}, sums);
    const std::vector<float> gradient = subject.values(sums.gradient);
    const double along = dot(gradient, values);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += along * gradient[i];
  }
  CHECK(compare(subject.product({.matrix = CurvatureMatrix::fisher}, batch, direction), sum, rounding) == "");
}

TEST_CASE("products add to what is there, and micro-batches add up to the whole") {
  Subject subject(residual);
  const Batch batch = random_batch(subject.context, image, 7, classes);
  const Block direction = subject.block(100);
  for (const auto matrix : {CurvatureMatrix::hessian, CurvatureMatrix::gauss_newton, CurvatureMatrix::fisher}) {
    CAPTURE(static_cast<int>(matrix));
    const std::vector<float> whole = subject.product({.matrix = matrix}, batch, direction);
    const Vector once = to_double(whole);
    CHECK(compare(subject.product({.matrix = matrix, .micro_batch = 3}, batch, direction), once, rounding) == "");
    const Block sum = subject.block(500);
    const std::vector<float> before = subject.values(sum);
    CurvatureProduct(subject.model, {.matrix = matrix}).add(batch.rows(0, 2), direction, sum);
    CurvatureProduct(subject.model, {.matrix = matrix}).add(batch.rows(2, 7), direction, sum);
    Vector expected = once;
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
    CHECK(compare(subject.values(sum), expected, rounding) == "");
  }
}

namespace {

class Opaque : public Layer {
 public:
  Opaque(std::string name, const Shape& input) : Layer(std::move(name), input, input) {}
  std::string describe(Graph& graph, const std::string& input) const override {
    return graph.add({name(), "opaque", {input}, output_shape()});
  }

 private:
  Variable forward_impl(const Forward&, Variable x) override { return x; }
};

struct OpaqueLoss : Loss {
  void evaluate(const LossCall& call) const override { SoftmaxCrossEntropy().evaluate(call); }
  void describe(Graph& graph, const std::string& scores) const override {
    graph.add({"loss", "opaque_loss", {scores}, Shape{}});
  }
};

}  // namespace

TEST_CASE("a layer or a loss without products is named, and so are blocks of another model") {
  LayerRegistry registry = LayerRegistry::builtin();
  registry.add("opaque", [](const ConfigReader&, const LayerContext& at) -> std::unique_ptr<Layer> {
    return std::make_unique<Opaque>(at.name, at.input);
  });
  Context context(test_device);
  const Batch batch = random_batch(context, image, 2, classes);
  Model opaque(context,
               network_from(R"({"type": "sequential", "layers": [{"type": "flatten"}, {"type": "opaque", "name": "box"},
                                {"type": "linear"}]})",
                            image, classes, {}, registry),
               classes);
  const Block block(context, opaque.parameter_set());
  CHECK(error_of([&] { CurvatureProduct(opaque, {}).add(batch, block, block); }) ==
        "layer 'box' gives no products with curvature matrices");

  Model unknown(context, network_from(tiny, image, classes), classes, std::make_shared<OpaqueLoss>());
  unknown.parameter_set().initialise(1);
  const Block direction(context, unknown.parameter_set()), sum(context, unknown.parameter_set());
  CHECK(error_of([&] { CurvatureProduct(unknown, {}).add(batch, direction, sum); }) ==
        "loss.type: \"opaque_loss\" does not tell its second derivatives, which products with curvature matrices and "
        "temperatures are made of");
  CHECK(contains(error_of([&] { CurvatureProduct(unknown, {}).add(batch, block, sum); }),
                 "where the model's parameters take"));
  // The empirical Fisher matrix needs first derivatives alone.
  CurvatureProduct(unknown, {.matrix = CurvatureMatrix::fisher}).add(batch, direction, sum);
}
