// A network as data: the output of --describe, from which another program can rebuild the network.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include <noisysgd/core/json_fwd.h>
#include <noisysgd/core/parameter.h>
#include <noisysgd/core/shape.h>

namespace noisysgd {

// An attribute of a layer other than its shapes; nullptr: not set.
using Attribute = std::variant<std::nullptr_t, bool, int64_t, double, std::string, std::array<int64_t, 2>>;

struct GraphNode {
  std::string name;
  std::string type;
  std::vector<std::string> inputs;  // node names, or "input"
  Shape output;                     // of one sample, in memory order: [H,W,C] or [features]
  std::vector<std::pair<std::string, Attribute>> attributes = {};
  std::vector<const Parameter*> parameters = {};
  int64_t flops = 0;  // of the forward pass of one sample; a multiply-add counts as two

  // Throws Error if the node has no attribute of this name.
  const Attribute& attribute(std::string_view attribute_name) const;
};

struct Graph {
  Shape input;
  int64_t classes = 0;
  std::vector<GraphNode> nodes;
  std::unordered_set<std::string> names = {"input"};  // in use

  // Appends the node and returns its name; a name that is in use is an Error.
  std::string add(GraphNode node);

  // {"input": [C,H,W], "classes": K, "nodes": [{"name", "type", "inputs", "output", "parameters", attributes…}]}
  Json json() const;
  // A table of name, type, output shape, parameters and FLOPs, with totals.
  std::string text() const;
};

}  // namespace noisysgd
