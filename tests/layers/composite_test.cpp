// Values and gradients that several consumers share: nothing may be overwritten while another still needs it.
#include <noisysgd/layers/composite.h>

#include <fmt/format.h>

#include <noisysgd/kernels/elementwise.h>
#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/linear.h>
#include "tests/catch.h"
#include "tests/layers/layer_check.h"
#include "tests/layers/network.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// Layers of width 5, one per letter: l(inear), r(elu). An empty text is the identity.
std::unique_ptr<Sequential> chain(const std::string& name, const std::string& letters) {
  LayerList layers;
  for (size_t i = 0; i < letters.size(); ++i) {
    const std::string layer = fmt::format("{}.{}", name, i);
    if (letters[i] == 'l') layers.push_back(std::make_unique<Linear>(layer, Shape{5}, LinearOptions{5}));
    if (letters[i] == 'r') layers.push_back(std::make_unique<Relu>(layer, Shape{5}));
  }
  return std::make_unique<Sequential>(name, Shape{5}, std::move(layers));
}

Vector apply(const std::string& letters, Vector x, const std::vector<Vector>& parameters, size_t& next) {
  const auto samples = static_cast<int64_t>(x.size()) / 5;
  for (const char letter : letters) {
    if (letter == 'l') {
      x = reference::product(false, true, samples, 5, 5, x, parameters[next]);
      for (size_t i = 0; i < x.size(); ++i) x[i] += parameters[next + 1][i % 5];
      next += 2;
    } else {
      for (double& value : x) value = std::max(value, 0.0);
    }
  }
  return x;
}

Formula residual_formula(const std::string& body, const std::string& shortcut) {
  return [=](const Vector& x, const std::vector<Vector>& parameters) {
    size_t next = 0;
    Vector y = apply(body, x, parameters, next);
    const Vector other = apply(shortcut, x, parameters, next);
    for (size_t i = 0; i < y.size(); ++i) y[i] += other[i];
    return y;
  };
}

}  // namespace

TEST_CASE("residual sums with every type of branch have the right value and gradients") {
  const std::string body = GENERATE("", "r", "l", "lr", "rl", "lrl", "rr");
  const std::string shortcut = GENERATE("", "r", "l", "lr");
  INFO("body '" << body << "', shortcut '" << shortcut << "'");
  Residual layer("block", chain("body", body), chain("shortcut", shortcut));
  CHECK(check_layer(layer, residual_formula(body, shortcut), {.samples = 4, .condition = 4}) == "");
}

TEST_CASE("nested residual sums: 3x through two identities") {
  LayerList inner;
  inner.push_back(std::make_unique<Residual>("inner", chain("a", ""), chain("b", "")));
  Residual layer("outer", std::make_unique<Sequential>("body", Shape{5}, std::move(inner)), chain("c", ""));
  const Formula formula = [](const Vector& x, const std::vector<Vector>&) {
    Vector y = x;
    for (double& value : y) value *= 3;
    return y;
  };
  CHECK(check_layer(layer, formula) == "");
}

TEST_CASE("an input without other owners may be reused, with the same result") {
  Context context(test_device);
  const std::vector<float> x = random_tensor(20, 1), seed = random_tensor(20, 2);
  std::vector<std::vector<float>> values, gradients;
  for (const bool hold : {true, false}) {
    Residual layer("block", chain("body", "rlr"), chain("shortcut", "r"));
    ParameterSet set(context, layer.parameters());
    const Sums sums = all_sums(context, set);
    set.initialise(3);
    Tape tape;
    Variable input{from_host(context, {4, 5}, x)};
    const Tensor held = hold ? input.value : Tensor();
    const Variable y = layer.forward({context, &tape, true}, std::move(input));
    values.push_back(to_host<float>(context, y.value));
    tape.backward(context, y, from_host(context, {4, 5}, seed),
                  {.statistics = {.second_moment = SecondMoment::exact}, .into = sums});
    gradients.push_back(to_host<float>(context, sums.gradient.of(*set.list()[0])));
    gradients.push_back(to_host<float>(context, sums.second_moment.of(*set.list()[0])));
  }
  CHECK(values[0] == values[1]);
  CHECK(gradients[0] == gradients[2]);
  CHECK(gradients[1] == gradients[3]);
}

TEST_CASE("gradients that reach one value several times are added, whoever owns them") {
  Context context(test_device);
  const std::vector<float> seed = random_tensor(6, 1);
  const int copies = GENERATE(1, 2, 3, 4);
  Tape tape;
  const Variable x = tape.leaf(from_host(context, {6}, random_tensor(6, 2)));
  Tensor first_handed_out;
  const Variable y = tape.record(from_host(context, {6}, random_tensor(6, 3)), [&](BackwardPass& pass, Tensor grad_y) {
    first_handed_out = grad_y;  // still owned by a consumer: must keep its values
    for (int i = 0; i < copies; ++i) pass.add_gradient(x.id, grad_y);
  });
  tape.backward(context, y, from_host(context, {6}, seed), {});
  Vector expected = to_double(seed);
  for (double& value : expected) value *= copies;
  CHECK(compare(to_host<float>(context, tape.gradient(x)), expected) == "");
  CHECK(to_host<float>(context, first_handed_out) == seed);
}

TEST_CASE("an op that adds two gradients itself gets the last one separately and the sum of the earlier ones") {
  Context context(test_device);
  const std::vector<float> seed = random_tensor(6, 1);
  const int copies = GENERATE(0, 1, 2, 3, 4);
  Tape tape;
  bool called = false;
  const Variable x = tape.record(from_host(context, {6}, random_tensor(6, 2)),
                                 Tape::BackwardOfTwo([&](BackwardPass&, Tensor grad_y, Tensor other) {
                                   called = true;
                                   Vector expected = to_double(seed);
                                   for (double& value : expected) value *= std::max(1, copies - 1);
                                   CHECK(compare(to_host<float>(context, grad_y), expected) == "");
                                   CHECK(other.defined() == (copies > 1));
                                   if (copies > 1) CHECK(to_host<float>(context, other) == seed);
                                 }));
  const Variable y = tape.record(from_host(context, {6}, random_tensor(6, 3)), [&](BackwardPass& pass, Tensor grad_y) {
    for (int i = 0; i < copies; ++i) pass.add_gradient(x.id, grad_y);
  });
  for (const bool retain : {true, false}) {
    called = false;
    tape.backward(context, y, from_host(context, {6}, seed), {.retain = retain});
    CHECK(called == (copies > 0));
  }
}

TEST_CASE("closures that are kept for another pass keep what they read") {
  Context context(test_device);
  const auto network = chain("net", "lrlr");
  ParameterSet set(context, network->parameters());
  set.initialise(3);
  const Sums sums = all_sums(context, set);
  Tape tape;
  const Variable y =
      network->forward({context, &tape, true}, tape.leaf(from_host(context, {4, 5}, random_tensor(20, 1))));
  std::vector<std::vector<float>> gradients;
  for (const bool retain : {true, true, false}) {
    sums.zero(context);
    tape.backward(context, y, from_host(context, {4, 5}, random_tensor(20, 2)), {.into = sums, .retain = retain});
    gradients.push_back(to_host<float>(context, sums.gradient.of(*set.list()[0])));
  }
  CHECK(gradients[1] == gradients[0]);
  CHECK(gradients[2] == gradients[0]);
}

// The names that `observe` is called with, in order.
std::vector<std::string> observed(const std::string& json) {
  Context context(test_device);
  const auto network = network_from(json, {4, 4, 2}, 3);
  ParameterSet set(context, network->parameters());
  set.initialise(1);
  bind_buffers(context, network->buffers());
  std::vector<std::string> names;
  Tape tape;
  Forward pass{context, &tape, true};
  pass.observe = [&](const std::string& name, const Tensor&) { names.push_back(name); };
  network->forward(pass, {from_host(context, {3, 4, 4, 2}, random_tensor(96, 1))});
  return names;
}

TEST_CASE("layers are observed with their epilogues, a residual sum as the block's") {
  const std::string conv = R"({"type": "conv2d", "out_channels": 2, "kernel": 3, "padding": 1}, )",
                    norm = R"({"type": "batch_norm"})", relu = R"({"type": "relu"})";
  CHECK(observed(R"({"type": "sequential", "layers": [)" + conv + norm + ", " + relu + ", " +
                 R"({"type": "residual", "body": [)" + conv + norm + "]}, " + relu + ", " + relu + "]}") ==
        std::vector<std::string>{"conv1", "bn1", "block1.shortcut.sequential", "block1.conv1", "block1", "relu3",
                                 "sequential"});
}

TEST_CASE("a layer that cannot fuse an epilogue refuses it") {
  Context context(test_device);
  const Variable x{from_host(context, {1, 5}, random_tensor(5, 1))};
  Relu relu("relu", {5});
  const auto identity = chain("identity", "");
  Residual block("block", chain("body", "l"), chain("shortcut", ""));
  const ParameterSet set(context, block.parameters());
  CHECK_THROWS_WITH(relu.forward({context}, x, {.relu = true}), "layer 'relu' cannot fuse an epilogue of a ReLU");
  CHECK_THROWS_WITH(identity->forward({context}, x, {.addend = x}),
                    "layer 'identity' cannot fuse an epilogue of a sum");
  CHECK_THROWS_WITH(block.forward({context}, x, {.addend = x, .relu = true}),
                    "layer 'block' cannot fuse an epilogue of a sum and a ReLU");
}

TEST_CASE("sequential and residual refuse shapes that do not match") {
  LayerList layers;
  layers.push_back(std::make_unique<Linear>("a", Shape{5}, LinearOptions{4}));
  layers.push_back(std::make_unique<Relu>("b", Shape{5}));
  CHECK_THROWS_WITH(Sequential("net", {5}, std::move(layers)),
                    "sequential 'net': layer 'b' takes [5], but [4] arrives");
  LayerList narrow;
  narrow.push_back(std::make_unique<Linear>("a", Shape{5}, LinearOptions{4}));
  auto body = std::make_unique<Sequential>("body", Shape{5}, std::move(narrow));
  CHECK_THROWS_WITH(Residual("block", std::move(body), chain("shortcut", "")),
                    "residual 'block': the body gives [4], the shortcut [5]");
}
