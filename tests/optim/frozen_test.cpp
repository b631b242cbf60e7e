// Model::freeze: frozen parameters take no part in a step, and those that are trained do not notice.
#include <noisysgd/core/json.h>
#include <noisysgd/optim/adamw.h>
#include <noisysgd/optim/layer_measurement.h>
#include <noisysgd/optim/measurement.h>

#include "tests/catch.h"
#include "tests/error_of.h"
#include "tests/optim/state_of.h"
#include "tests/optim/tiny_steps.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

const std::vector<std::string> noises{
    R"({"type": "none"})",
    R"({"type": "isotropic", "sigma": 0.5})",
    R"({"type": "multiplicative", "sigma": 0.5})",
    R"({"type": "diagonal_fisher", "small_batch": 2})",
    R"({"type": "full_fisher", "small_batch": 2})",
    R"({"type": "full_fisher", "small_batch": 2, "position": "after_momentum"})",
    R"({"type": "block_fisher", "small_batch": 2})",
    R"({"type": "unit_fisher", "small_batch": 2})",
    R"({"type": "position_fisher", "small_batch": 2})",
    R"({"type": "position_fisher", "small_batch": 2, "match_trace": 4})",
    R"({"type": "kfac", "small_batch": 2})",
    R"({"type": "kfac", "small_batch": 2, "matrix_free": true})",
    R"({"type": "fisher_trace", "small_batch": 2})",
    R"({"type": "label", "small_batch": 2})",
};

// The values of a parameter, or of the tensor of its state that has this prefix.
std::vector<float> values_of(const Tensor& tensor) { return {tensor.f32(), tensor.f32() + tensor.elements()}; }

bool all_zero(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float value) { return value == 0; });
}

const std::vector<std::vector<std::string>> globs{
    {"conv1.*"}, {"*.bias"}, {"linear1.weight"}, {"conv1.bias", "linear1.*"}};

// What `steps` logs of a step with these measurements.
Json logged(const Measurements& measurements, TinySteps& steps) {
  StepRequest request = steps.request(3);
  request.logged = true;
  steps.step.accumulate(steps.step.recipe(request), steps.source(), {.step = 3});
  Json fields = Json::object();
  for (const auto& measurement : measurements) {
    std::vector<const void*> results;
    for (const Tensor& result : measurement->results()) results.push_back(result.bytes().data());
    measurement->write(results, TinyNetwork::samples, fields);
  }
  return fields;
}

Measurements read(const Json& logging) { return read_measurements(Config(logging, "test").root()); }

}  // namespace

TEST_CASE("a frozen parameter keeps its value and its optimizer's state, with every noise and optimizer") {
  const std::string noise_json = GENERATE(from_range(noises));
  const auto frozen = GENERATE(from_range(globs));
  const bool adamw = GENERATE(false, true);
  CAPTURE(noise_json, frozen, adamw);
  TinyNetwork net;
  net.model.freeze(frozen);
  Noise noise = noise_from(noise_json);
  Sgd sgd({.momentum = 0.9, .weight_decay = 0.1});
  AdamW second({.weight_decay = 0.1});
  Optimizer& optimizer = adamw ? static_cast<Optimizer&>(second) : sgd;
  WeightAverage average(net.context, net.model, 0.7f);
  Step step(net.context, net.model, noise, optimizer, &average, {.micro = 3, .seed = 5});
  step.begin_noise();
  std::vector<std::vector<float>> before;
  for (const Parameter* parameter : net.model.parameters()) before.push_back(values_of(parameter->value));
  const BatchSource source = [&](const StepNumbers&, int64_t begin, int64_t count) {
    return net.batch.rows(begin, begin + count);
  };
  for (uint32_t number = 0; number < 3; ++number)
    step.run({.values = {number, 0, 0, 0.1f}, .samples = TinyNetwork::samples, .noise = noise.active(), .logged = true},
             source);
  for (size_t i = 0; i < before.size(); ++i) {
    const Parameter& parameter = *net.model.parameters()[i];
    CAPTURE(parameter.name);
    CHECK((values_of(parameter.value) == before[i]) == parameter.frozen);
    CHECK((values_of(state_of(average, "average." + parameter.name)) == before[i]) == parameter.frozen);
    for (const std::string& prefix :
         adamw ? std::vector<std::string>{"adamw.first.", "adamw.second."} : std::vector<std::string>{"momentum."})
      CHECK(all_zero(values_of(state_of(optimizer, prefix + parameter.name))) == parameter.frozen);
  }
}

TEST_CASE("freezing parameters changes no gradient, second moment or noise of the others") {
  const std::string noise_json = GENERATE(from_range(noises));
  const auto frozen = GENERATE(from_range(globs));
  if (noise_json == noises.front() || contains(noise_json, "match_trace") || contains(noise_json, "fisher_trace"))
    return;  // the last two depend on how many parameters there are
  CAPTURE(noise_json, frozen);
  TinyNetwork whole, part;
  part.model.freeze(frozen);
  TinySteps of_whole(whole, noise_json), of_part(part, noise_json);
  of_whole.accumulate(3, 3);
  of_part.accumulate(3, 3);
  const auto drawn = [](TinySteps& steps) { return steps.step.draw_noise(steps.recipe(3, 3), 3); };
  const std::vector<Tensor> expected = drawn(of_whole), found = drawn(of_part);
  for (const Parameter* parameter : part.model.parameters()) {
    CAPTURE(parameter->name);
    const size_t i = parameter->index;
    for (Block Sums::*block : {&Sums::gradient, &Sums::second_moment}) {
      const Block &own = of_part.step.sums().*block, &other = of_whole.step.sums().*block;
      if (!own.defined() || contains(noise_json, "kfac")) continue;
      CHECK(values_of(own.of(*parameter)) == (parameter->frozen
                                                  ? std::vector<float>(static_cast<size_t>(parameter->shape.elements()))
                                                  : values_of(other.of(*whole.model.parameters()[i]))));
    }
    if (parameter->frozen)
      CHECK(all_zero(values_of(found[i])));
    else
      CHECK(values_of(found[i]) == values_of(expected[i]));
  }
}

TEST_CASE("norms of the log are those of the parameters that are trained") {
  TinyNetwork net;
  net.model.freeze({"linear1.weight", "conv1.bias"});
  const auto trained = [](size_t i) { return i < 8 || i >= 34; };  // conv1.weight and linear1.bias
  const Measurements measurements = read({{"noise_scale", true}, {"per_layer", true}});
  TinySteps steps(net, R"({"type": "none"})", {.micro = 3, .measurements = measurements});
  const Json fields = logged(measurements, steps);
  constexpr int64_t m = TinyNetwork::samples;
  Vector mean(TinyNetwork::size), squares(TinyNetwork::size);
  for (int64_t n = 0; n < m; ++n) {
    const Vector g = net.gradient(n);
    for (size_t i = 0; i < g.size(); ++i) {
      if (!trained(i)) continue;
      mean[i] += g[i] / m;
      squares[i] += g[i] * g[i] / m;
    }
  }
  double of_mean = 0, trace = 0, of_conv = 0;
  for (size_t i = 0; i < mean.size(); ++i) {
    of_mean += mean[i] * mean[i];
    trace += squares[i];
    if (i < 10) of_conv += squares[i];
  }
  CHECK(fields.at("gradient_variance").get<double>() == Approx(m * (trace - of_mean) / (m - 1)).epsilon(1e-5));
  CHECK(fields.at("layers").at("conv1").at("fisher_trace").get<double>() == Approx(of_conv).epsilon(1e-5));
  CHECK(fields.at("layers").at("linear1").at("fisher_trace").get<double>() == Approx(trace - of_conv).epsilon(1e-5));
}

TEST_CASE("layers that are frozen as a whole are left out of the log") {
  TinyNetwork net;
  net.model.freeze({"conv1.*"});
  const Measurements measurements = read({{"per_layer", true}, {"groups", 2}});
  TinySteps steps(net, R"({"type": "none"})", {.measurements = measurements});
  const Json layers = logged(measurements, steps).at("layers");
  CHECK(layers.size() == 1);
  TinyNetwork whole;
  const Measurements all = read({{"per_layer", true}, {"groups", 2}});
  TinySteps of_whole(whole, R"({"type": "none"})", {.measurements = all});
  CHECK(layers.at("linear1") == logged(all, of_whole).at("layers").at("linear1"));
}

TEST_CASE("globs of frozen parameters are checked") {
  TinyNetwork net;
  const auto error = [&](const std::vector<std::string>& frozen) {
    return error_of([&] { net.model.freeze(frozen); });
  };
  const std::string begin = "model.freeze: \"", end = "\" matches no parameter of this network; ";
  CHECK(error({"conv.*"}) == begin + "conv.*" + end + "did you mean \"conv1.*\"?");
  CHECK(error({"conv1.wieght"}) == begin + "conv1.wieght" + end + "did you mean \"conv1.weight\"?");
  CHECK(error({"*.biases"}) == begin + "*.biases" + end + "did you mean \"*.bias\"?");
  CHECK(error({"encoder.*"}) ==
        begin + "encoder.*" + end + "it has \"conv1.weight\", \"conv1.bias\", \"linear1.weight\", \"linear1.bias\"");
  CHECK(error({"*"}) == "model.freeze: leaves no parameter to train");
}

TEST_CASE("noise for frozen parameters alone is refused") {
  TinyNetwork net;
  net.model.freeze({"conv1.*"});
  const auto check = [&](const std::string& globs) {
    noise_from(R"({"type": "isotropic", "sigma": 1, "parameters": )" + globs + "}").check_globs(net.model.parameters());
  };
  check(R"(["*.bias"])");
  CHECK(error_of([&] { check(R"(["conv1.bias"])"); }) ==
        "noise.parameters: model.freeze freezes every parameter that they name, so no noise would be drawn");
}
