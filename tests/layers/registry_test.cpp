#include <noisysgd/layers/registry.h>

#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/model.h>
#include <noisysgd/layers/models/lenet.h>
#include <noisysgd/layers/models/mlp.h>
#include "tests/catch.h"
#include "tests/layers/collected.h"
#include "tests/layers/network.h"

using namespace noisysgd;
using namespace noisysgd::test;

namespace {

// Every problem that reading the network reports.
std::vector<std::string> problems_of(const std::string& json, const Shape& input = {8, 8, 3}) {
  try {
    network_from(json, input, 10);
  } catch (const ConfigError& error) {
    return error.problems();
  }
  return {};
}

Json graph_of(const std::string& json, const Shape& input, int64_t classes, std::optional<int64_t> ghost_size = {},
              float smoothing = 0) {
  Context context;
  return Model(context, network_from(json, input, classes, ghost_size), classes, std::make_shared<SoftmaxCrossEntropy>(smoothing)).graph().json();
}

Json layers_of(const std::string& layers, const Shape& input, int64_t classes, std::optional<int64_t> ghost_size = {}) {
  return graph_of(R"({"type": "sequential", "layers": )" + layers + "}", input, classes, ghost_size);
}

Json parse(const std::string& json) { return parse_json(json, "expected"); }

}  // namespace

TEST_CASE("an unknown type is reported with its place and the nearest name") {
  const auto problems = problems_of(R"({"type": "sequential", "layers": [{"type": "conv2"}]})");
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].find("$.model.layers[0].type") == 0);
  CHECK(problems[0].find("\"conv2\"") != std::string::npos);
  CHECK(problems[0].find("did you mean \"conv2d\"?") != std::string::npos);
}

TEST_CASE("bad options of several layers are reported at once") {
  const auto problems = problems_of(R"({"type": "sequential", "layers": [
    {"type": "conv2d", "out_channels": 0, "kernel": [3], "bias": "yes"},
    {"type": "dropout", "probability": 1}, {"type": "relu", "slope": 0.1},
    {"type": "flatten"}, {"type": "linear", "out_feature": 4}]})");
  const auto reported = [&](const std::string& path) {
    return std::any_of(problems.begin(), problems.end(), [&](const std::string& p) { return p.find(path) == 0; });
  };
  CHECK(reported("$.model.layers[0].out_channels"));
  CHECK(reported("$.model.layers[0].kernel"));
  CHECK(reported("$.model.layers[0].bias"));
  CHECK(reported("$.model.layers[1].probability"));
  CHECK(reported("$.model.layers[2].slope"));
  CHECK(reported("$.model.layers[4].out_feature"));
}

TEST_CASE("shapes that do not fit are reported with their place") {
  const auto [json, place, reason] = GENERATE(table<std::string, std::string, std::string>(
      {{R"([{"type": "linear"}])", "$.model.layers[0].type", "is not a vector"},
       {R"([{"type": "linear"}, {"type": "relu"}, {"type": "linear", "name": "fc", "out_features": 3}])",
        "$.model.layers[0].type", "is not a vector"},
       {R"([{"type": "conv2d", "out_channels": 2, "kernel": 9}])", "$.model.layers[0].type", "does not fit"},
       {R"([{"type": "flatten"}, {"type": "conv2d", "out_channels": 2, "kernel": 1}])", "$.model.layers[1].type",
        "is not an image"},
       {R"([{"type": "max_pool", "kernel": 9}])", "$.model.layers[0].type", "does not fit"},
       {R"([{"type": "max_pool", "kernel": 2, "padding": 2}])", "$.model.layers[0].type", "more than half"},
       {R"([{"type": "pad_channels", "channels": 2}])", "$.model.layers[0].type", "cannot be padded"},
       {R"([{"type": "residual", "body": [{"type": "flatten"}]}])", "$.model.layers[0].type", "the shortcut"}}));
  const auto problems = problems_of(R"({"type": "sequential", "layers": )" + json + "}");
  INFO(json);
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].find(place) == 0);
  CHECK(problems[0].find(reason) != std::string::npos);
}

TEST_CASE("a user-defined layer is registered by one call of add; a type can be registered once") {
  LayerRegistry registry = LayerRegistry::builtin();
  const LayerBuilder builder = [](const ConfigReader&, const LayerContext& at) {
    return std::make_unique<Relu>(at.name, at.input);
  };
  registry.add("swish", builder, "sw");
  const auto network =
      network_from(R"({"type": "sequential", "layers": [{"type": "swish"}, {"type": "swish"}]})", {4}, 4, {}, registry);
  Graph graph{{4}, 4, {}};
  CHECK(network->describe(graph, "input") == "sw2");
  CHECK_THROWS_WITH(registry.add("relu", builder), "a layer of type 'relu' is registered already");
}

TEST_CASE("names: numbered by type, given ones kept, duplicates refused") {
  const Json graph = layers_of(R"([{"type": "flatten"}, {"type": "linear", "out_features": 4}, {"type": "relu"},
                                   {"type": "linear", "name": "head"}])",
                               {2, 2, 1}, 3);
  std::vector<std::string> names;
  for (const Json& node : graph["nodes"]) names.push_back(node["name"]);
  CHECK(names == std::vector<std::string>{"flatten1", "linear1", "relu1", "head", "loss"});
  CHECK_THROWS_WITH(
      layers_of(
          R"([{"type": "sequential", "name": "a", "layers": [{"type": "linear", "name": "b"}]}, {"type": "linear", "name": "a.b"}])",
          {3}, 3),
      "two parameters are named 'a.b.weight'");
  CHECK_THROWS_WITH(
      layers_of(
          R"([{"type": "sequential", "name": "a", "layers": [{"type": "relu", "name": "b"}]}, {"type": "relu", "name": "a.b"}])",
          {3}, 3),
      "model: two nodes of the network are named 'a.b'");
}

TEST_CASE("the graph holds every attribute another program needs") {
  const Json graph = graph_of(R"({"type": "sequential", "layers": [
      {"type": "conv2d", "out_channels": 4, "kernel": [3, 1], "stride": 2, "padding": [1, 0], "bias": false},
      {"type": "batch_norm", "epsilon": 0.5, "momentum": 0.25},
      {"type": "dropout", "probability": 0.5},
      {"type": "max_pool", "kernel": 3, "stride": 1, "padding": 1},
      {"type": "residual", "body": [{"type": "average_pool"}, {"type": "batch_norm", "ghost_size": null}],
       "shortcut": [{"type": "pad_channels", "stride": 2, "channels": 4}]},
      {"type": "global_average_pool"}, {"type": "linear"}]})",
                              {8, 8, 3}, 10, 32, 0.25f);
  const Json expected = parse(R"({"input": [3, 8, 8], "classes": 10, "nodes": [
    {"name": "conv1", "type": "conv2d", "inputs": ["input"], "output": [4, 4, 4], "in_channels": 3, "out_channels": 4,
     "kernel": [3, 1], "stride": [2, 2], "padding": [1, 0], "bias": false,
     "parameters": [{"name": "conv1.weight", "shape": [4, 3, 3, 1]}]},
    {"name": "bn1", "type": "batch_norm", "inputs": ["conv1"], "output": [4, 4, 4], "channels": 4, "epsilon": 0.5,
     "momentum": 0.25, "ghost_size": 32,
     "parameters": [{"name": "bn1.weight", "shape": [4]}, {"name": "bn1.bias", "shape": [4]}]},
    {"name": "dropout1", "type": "dropout", "inputs": ["bn1"], "output": [4, 4, 4], "probability": 0.5,
     "parameters": []},
    {"name": "pool1", "type": "max_pool", "inputs": ["dropout1"], "output": [4, 4, 4], "kernel": 3, "stride": 1,
     "padding": 1, "parameters": []},
    {"name": "block1.pool1", "type": "average_pool", "inputs": ["pool1"], "output": [4, 2, 2], "kernel": 2, "stride": 2,
     "padding": 0, "parameters": []},
    {"name": "block1.bn1", "type": "batch_norm", "inputs": ["block1.pool1"], "output": [4, 2, 2], "channels": 4,
     "epsilon": 0.0, "momentum": 0.0, "ghost_size": null,
     "parameters": [{"name": "block1.bn1.weight", "shape": [4]}, {"name": "block1.bn1.bias", "shape": [4]}]},
    {"name": "block1.shortcut.pad1", "type": "pad_channels", "inputs": ["pool1"], "output": [4, 2, 2], "stride": 2,
     "channels": 4, "parameters": []},
    {"name": "block1.add", "type": "add", "inputs": ["block1.bn1", "block1.shortcut.pad1"], "output": [4, 2, 2],
     "parameters": []},
    {"name": "pool2", "type": "global_average_pool", "inputs": ["block1.add"], "output": [4], "parameters": []},
    {"name": "linear1", "type": "linear", "inputs": ["pool2"], "output": [10], "in_features": 4, "out_features": 10,
     "bias": true, "parameters": [{"name": "linear1.weight", "shape": [10, 4]}, {"name": "linear1.bias", "shape": [10]}]},
    {"name": "loss", "type": "softmax_cross_entropy", "inputs": ["linear1"], "output": [], "label_smoothing": 0.25,
     "parameters": []}]})");
  REQUIRE(graph["nodes"].size() == expected["nodes"].size());
  CHECK(graph["input"] == expected["input"]);
  CHECK(graph["classes"] == expected["classes"]);
  for (size_t i = 0; i < expected["nodes"].size(); ++i) {
    Json node = graph["nodes"][i], wanted = expected["nodes"][i];
    if (node["name"] == "block1.bn1") {  // defaults, which are fractions in fp32
      CHECK(node["epsilon"].get<double>() == Approx(1e-5));
      CHECK(node["momentum"].get<double>() == Approx(0.1));
      node["epsilon"] = node["momentum"] = 0.0;
    }
    CHECK(node.dump() == wanted.dump());
  }
}

TEST_CASE("identity shortcut: the sum's second input is the block's own input") {
  const Json graph = layers_of(R"([{"type": "residual", "body": [{"type": "relu"}]}, {"type": "linear"}])", {3}, 2);
  CHECK(graph["nodes"][1]["inputs"] == Json{"block1.relu1", "input"});
}

TEST_CASE("the MLP and LeNet of the registry are the published ones") {
  const Json lenet = graph_of(R"({"type": "lenet"})", {28, 28, 1}, 10);
  std::vector<std::string> summary;
  int64_t parameters = 0;
  for (const Json& node : lenet["nodes"]) {
    summary.push_back(node["name"].get<std::string>() + " " + node["output"].dump());
    for (const Json& parameter : node["parameters"]) {
      int64_t count = 1;
      for (const Json& extent : parameter["shape"]) count *= extent.get<int64_t>();
      parameters += count;
    }
  }
  CHECK(summary == std::vector<std::string>{"conv1 [20,24,24]", "relu1 [20,24,24]", "pool1 [20,12,12]",
                                            "conv2 [50,8,8]", "relu2 [50,8,8]", "pool2 [50,4,4]", "flatten1 [800]",
                                            "linear1 [500]", "relu3 [500]", "linear2 [10]", "loss []"});
  CHECK(parameters == 431080);

  const Json mlp = graph_of(R"({"type": "mlp", "hidden": [5], "dropout": 0.25})", {2, 2, 1}, 3);
  summary.clear();
  for (const Json& node : mlp["nodes"])
    summary.push_back(node["name"].get<std::string>() + " " + node["output"].dump());
  CHECK(summary ==
        std::vector<std::string>{"flatten1 [4]", "linear1 [5]", "relu1 [5]", "dropout1 [5]", "linear2 [3]", "loss []"});
}

TEST_CASE("the table of a graph counts parameters and floating-point operations") {
  Context context;
  const Model model(context, network_from(R"({"type": "mlp", "hidden": []})", {40, 50, 1}, 10), 10);
  const std::string text = model.graph().text();
  CHECK(text.find("20010") != std::string::npos);  // 10 x 2000 weights and 10 biases
  CHECK(text.find("0.040") != std::string::npos);  // 40 000 FLOPs: a product and a sum for each weight
}

TEST_CASE("layer names are unique and none is a prefix that a checkpoint uses") {
  const auto problem = [](const std::string& layers) {
    const auto problems = problems_of(R"({"type": "sequential", "layers": )" + layers + "}");
    return problems.empty() ? "" : problems.front();
  };
  for (const std::string name : {"momentum", "adamw", "average", "fisher", "kfac", "momentum.fc", "kfac.input"})
    CHECK(problem(R"([{"type": "relu", "name": ")" + name + "\"}]") ==
          "$.model.layers[0].name: \"" + name.substr(0, name.find('.')) +
              "\" names tensors of a checkpoint that belong to other layers");
  for (const std::string name : {"input", "loss"})
    CHECK(problem(R"([{"type": "relu", "name": ")" + name + "\"}]") ==
          "$.model.layers[0].name: \"" + name + "\" names the network's " + name);
  CHECK(problem(R"([{"type": "relu", "name": "a\u001bb"}])") ==
        "$.model.layers[0].name: must not contain control characters");
  CHECK(problem(R"([{"type": "relu", "name": "a"}, {"type": "relu", "name": "a"}])") ==
        "$.model.layers[1].name: \"a\" is the name of an earlier layer");
  CHECK(problem(R"([{"type": "relu"}, {"type": "relu", "name": "relu1"}])") ==
        "$.model.layers[1].name: \"relu1\" is the name of an earlier layer");
  CHECK(problem(R"([{"type": "relu", "name": "relu2"}, {"type": "relu"}])") ==
        "$.model.layers[1].name: \"relu2\" is the name of an earlier layer; give this layer a \"name\" of "
        "its own");
  CHECK(problem(R"([{"type": "residual", "body": [{"type": "relu", "name": "momentum"}]}])").empty());
  CHECK(problem(R"([{"type": "relu", "name": "momentum2"}, {"type": "relu", "name": "relu1"}])").empty());
}

TEST_CASE("a network whose tensors cannot be counted or held is refused with the layer's name") {
  const auto problem = [](const std::string& json, const Shape& input = {8, 8, 3}) {
    const auto problems = problems_of(json, input);
    return problems.empty() ? "" : problems.front();
  };
  CHECK(problem(R"({"type": "resnet", "width": 2147483647})") ==
        "$.model.type: conv2d 'conv1': its filters [34359738352,3,3,3] would have more than 2147483647 elements");
  CHECK(problem(R"({"type": "resnet", "width": 1000000})") ==
        "$.model.type: conv2d 'layer1.0.conv1': its filters [16000000,3,3,16000000] would have more than 2147483647 "
        "elements");
  CHECK(problem(R"({"type": "sequential", "layers": [{"type": "pad_channels", "channels": 2147483647}]})") ==
        "$.model.layers[0].type: layer 'pad1': its output [8,8,2147483647] would have more than 2147483647 elements");
  CHECK(problem(R"({"type": "pad_channels", "channels": 3})", {64}) ==
        "$.model.type: pad_channels '': input [64] cannot be padded to 3 channels");
  const std::string linear = R"({"type": "sequential", "layers": [{"type": "flatten"}, {"type": "linear"}]})";
  CHECK(problem(linear, {4294967296, 4294967296, 3}) ==
        "$.model.layers[0].type: a tensor of shape [4294967296,4294967296,3] has too many elements");
  Context context;
  const auto wide = [&] { Model(context, network_from(linear, {16384, 16384, 1}, 10), 10); };
  CHECK_THROWS_WITH(wide(), "parameter 'linear1.weight' of shape [10,268435456] has more than 2147483647 elements");
}

TEST_CASE("convolutions and pools of the largest accepted strides, paddings and kernels run") {
  Context context({}, 1);
  for (const char* json :
       {R"({"type": "conv2d", "out_channels": 2, "kernel": [1, 3], "stride": 65536, "padding": [0, 5]})",
        R"({"type": "conv2d", "out_channels": 1, "kernel": 1, "stride": [65536, 40000], "padding": 65536})",
        R"({"type": "conv2d", "out_channels": 1, "kernel": [1, 65536], "padding": [0, 32768], "stride": 9})",
        R"({"type": "max_pool", "kernel": 15, "padding": 7, "stride": 2147483647})",
        R"({"type": "average_pool", "kernel": 15, "padding": 7, "stride": 2147483647})",
        R"({"type": "pad_channels", "channels": 4, "stride": 2147483647})"}) {
    CAPTURE(json);
    Model model(context,
                network_from(std::string(R"({"type": "sequential", "layers": [)") + json +
                                 R"(, {"type": "global_average_pool"}, {"type": "linear"}]})",
                             {8, 8, 3}, 4),
                4);
    model.parameter_set().initialise(1);
    CHECK(accumulate(model, random_batch(context, {8, 8, 3}, 2, 4), {}, all_sums(context, model.parameter_set())).samples == 2);
  }
  CHECK(problems_of(R"({"type": "conv2d", "out_channels": 2, "kernel": 1, "stride": 2147483647})").front() ==
        "$.model.stride: must be at most 65536, got 2147483647");
}
