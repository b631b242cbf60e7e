// docs/models.md and its tables of layers agree with the output of --describe.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include <noisysgd/apps/experiment.h>
#include <noisysgd/core/file.h>
#include "tests/catch.h"

using namespace noisysgd;

namespace {

const std::filesystem::path source = NSGD_SOURCE_DIR;

Graph graph_of(const Json& model) {
  static const Shape grey{28, 28, 1}, colour{32, 32, 3};
  const Regime regime = read_experiment(Json{{"model", model}}, "test", {}).regimes.at(0);
  const bool on_grey = model.at("type") == "mlp" || model.at("type") == "lenet";
  Graph graph{on_grey ? grey : colour, 10, {}};
  // Kept: the graph points to its parameters.
  static std::vector<std::unique_ptr<Layer>> networks;
  networks.push_back(regime.build_network({}, graph.input, graph.classes));
  networks.back()->describe(graph, "input");
  return graph;
}

std::string without_spaces(std::string text) {
  std::erase(text, ' ');
  return text;
}

}  // namespace

TEST_CASE("the page of the networks has their numbers of parameters and FLOPs") {
  const std::string page = read_file(source / "docs/models.md");
  const std::regex row(R"(\n\| [^|]* \| `(\{[^`]*\})` \| [^|]* \| 10 \| ([0-9 ]*) \| ([0-9.]*) \|)");
  int rows = 0;
  for (std::sregex_iterator match(page.begin(), page.end(), row), end; match != end; ++match, ++rows) {
    INFO((*match)[1]);
    const Graph graph = graph_of(Json::parse((*match)[1].str()));
    int64_t parameters = 0, flops = 0;
    for (const GraphNode& node : graph.nodes) {
      for (const Parameter* parameter : node.parameters) parameters += parameter->shape.elements();
      flops += node.flops;
    }
    CHECK(without_spaces((*match)[2]) == std::to_string(parameters));
    CHECK((*match)[3] == fmt::format("{:.1f}", static_cast<double>(flops) * 1e-6));
  }
  CHECK(rows == 8);
}

TEST_CASE("the tables of layers are those of --describe") {
  const std::pair<const char*, const char*> networks[] = {
      {"mlp", R"({"type": "mlp"})"},         {"lenet", R"({"type": "lenet"})"},
      {"alexnet", R"({"type": "alexnet"})"}, {"vgg16", R"({"type": "vgg16"})"},
      {"resnet44", R"({"type": "resnet"})"}, {"resnet44x2", R"({"type": "resnet", "width": 2})"}};
  const std::string page = read_file(source / "docs/models.md");
  for (const auto& [name, model] : networks) {
    INFO(name);
    const std::string file = std::string("models/") + name + ".txt";
    CHECK(page.find("(" + file + ")") != std::string::npos);
    Graph graph = graph_of(Json::parse(model));
    graph.add({"loss", "softmax_cross_entropy", {"input"}, Shape{}});
    CHECK(read_file(source / "docs" / file) == graph.text() + "\n");
  }
}
