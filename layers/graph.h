// A network as data: what --describe prints, complete enough for another program to rebuild it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <vector>

#include <noisysgd/core/parameter.h>
#include <noisysgd/core/shape.h>

namespace noisysgd {

struct GraphNode {
  std::string name;
  std::string type;
  std::vector<std::string> inputs;  // node names, or "input"
  Shape output;                     // of one sample, as here: [H,W,C] or [features]
  nlohmann::ordered_json attributes = nlohmann::ordered_json::object();
  std::vector<const Parameter*> parameters = {};
  int64_t flops = 0;  // of one sample's forward pass, a multiply-add counted as two
};

struct Graph {
  Shape input;
  int64_t classes = 0;
  std::vector<GraphNode> nodes;
  std::unordered_set<std::string> names = {"input"};  // taken

  // Appends the node and returns its name; a name given twice is an error.
  std::string add(GraphNode node);

  // {"input": [C,H,W], "classes": K, "nodes": [{"name", "type", "inputs", "output", "parameters", attributes…}]}
  nlohmann::ordered_json json() const;
  // A table of name, type, output shape, parameters and FLOPs, with totals.
  std::string text() const;
};

}  // namespace noisysgd
