// logging.noise_scale: the spread of the samples' gradients in a step, against the formulas.
#include <noisysgd/core/json.h>
#include <noisysgd/optim/measurement.h>

#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/optim/tiny_steps.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

Measurements noise_scale() { return read_measurements(Config(Json{{"noise_scale", true}}, "test").root()); }

Json fields_of(const Measurement& measurement, int64_t samples) {
  std::vector<const void*> results;
  for (const Tensor& result : measurement.results()) results.push_back(result.bytes().data());
  Json fields = Json::object();
  measurement.write(results, samples, fields);
  return fields;
}

double squared_norm(const Vector& v) {
  double sum = 0;
  for (const double value : v) sum += value * value;
  return sum;
}

}  // namespace

TEST_CASE("the gradient noise scale is that of the samples' gradients, whatever the step does beside") {
  const int64_t micro = GENERATE(8, 3, 1);
  const Labels labels = GENERATE(Labels::data, Labels::sampled);
  // The last weighs the losses where nobody asks for the gradient without weights.
  const std::string noise = GENERATE(R"({"type": "none"})", R"({"type": "diagonal_fisher", "small_batch": 2})",
                                     R"({"type": "full_fisher", "small_batch": 2})");
  TinyNetwork net;
  constexpr int64_t m = TinyNetwork::samples;
  const Measurements measurements = noise_scale();
  TinySteps steps(net, noise, {.fisher = {.labels = labels}, .micro = micro, .measurements = measurements});
  StepRequest request = steps.request(3);
  request.logged = true;
  steps.step.accumulate(steps.step.recipe(request), steps.source(), {.step = 3});

  Vector mean(TinyNetwork::size);
  double variance = 0;
  for (int64_t n = 0; n < m; ++n) {
    const Vector g = net.gradient(n);
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += g[i] / m;
  }
  for (int64_t n = 0; n < m; ++n) {
    Vector deviation = net.gradient(n);
    for (size_t i = 0; i < mean.size(); ++i) deviation[i] -= mean[i];
    variance += squared_norm(deviation) / (m - 1);
  }
  const Json fields = fields_of(*measurements.at(0), m);
  CHECK(fields.size() == 3);
  CHECK(fields.at("gradient_variance").get<double>() == Approx(variance).epsilon(1e-5));
  CHECK(fields.at("gradient_noise_scale").get<double>() == Approx(variance / squared_norm(mean)).epsilon(1e-5));
  CHECK(fields.at("expected_gradient_squared").get<double>() ==
        Approx(squared_norm(mean) - variance / m).margin(1e-5 * squared_norm(mean)));
}

TEST_CASE("measuring the noise scale changes neither the gradient nor the noise of a step") {
  TinyNetwork net;
  const std::string noise = R"({"type": "unit_fisher", "small_batch": 2})";
  TinySteps plain(net, noise), measured(net, noise, {.measurements = noise_scale()});
  StepRequest request = measured.request(3);
  request.logged = true;
  measured.step.accumulate(measured.step.recipe(request), measured.source(), {.step = 3});
  plain.accumulate(3);
  for (const auto block : {&Sums::gradient, &Sums::signed_sum}) {
    CHECK(measured.values(block) == plain.values(block));
    CHECK(std::abs(measured.values(block).back()) > 0);
  }
}

TEST_CASE("a single sample has no variance, and a gradient of zero no noise scale") {
  TinyNetwork net;
  const Measurements measurements = noise_scale();
  Sums sums{.gradient = Block(net.context, net.model.parameter_set())};
  measurements[0]->begin(net.context, net.model, {}, sums);
  measurements[0]->begin_step(sums, 2)->end();
  const Json of_one = fields_of(*measurements[0], 1), of_zeros = fields_of(*measurements[0], 2);
  for (const char* key : {"gradient_variance", "expected_gradient_squared", "gradient_noise_scale"})
    CHECK(of_one.at(key).is_null());
  for (const char* key : {"gradient_variance", "expected_gradient_squared"}) CHECK(of_zeros.at(key) == 0.0);
  CHECK(of_zeros.at("gradient_noise_scale").is_null());
}

TEST_CASE("rounding leaves the noise scale of equal gradients at zero") {
  // Of two samples with norms of 1 less rounding, and of their sum.
  const double sums[] = {1.9999999, 0, 0, 4};
  const void* const results[] = {sums};
  Json fields = Json::object();
  noise_scale()[0]->write(results, 2, fields);
  for (const char* key : {"gradient_variance", "gradient_noise_scale"}) CHECK(fields.at(key) == 0.0);
}

TEST_CASE("a layer that gives no norms is named") {
  TinyNetwork net;
  net.model.parameters()[2]->gives_sample_statistics = false;
  Sums sums;
  CHECK(error_of([&] { noise_scale()[0]->begin(net.context, net.model, {}, sums); })
            .find("logging.noise_scale: the layer of parameter 'linear1.weight' gives no norms") != std::string::npos);
}
