#include <noisysgd/layers/graph.h>

#include <fmt/format.h>

#include <noisysgd/core/json.h>
#include <noisysgd/core/text_table.h>

namespace noisysgd {

const Attribute& GraphNode::attribute(std::string_view attribute_name) const {
  for (const auto& [key, value] : attributes)
    if (key == attribute_name) return value;
  throw Error(fmt::format("node '{}' of the network has no attribute \"{}\"", name, attribute_name));
}

std::string Graph::add(GraphNode node) {
  NSGD_CHECK(names.insert(node.name).second, "model: two nodes of the network are named '{}'", node.name);
  nodes.push_back(std::move(node));
  return nodes.back().name;
}

Json Graph::json() const {
  Json list = Json::array();
  for (const GraphNode& node : nodes) {
    Json parameters = Json::array();
    for (const Parameter* parameter : node.parameters) {
      parameters.push_back({{"name", parameter->name}, {"shape", parameter->exported_shape().extents()}});
      if (parameter->frozen) parameters.back()["frozen"] = true;
    }
    Json entry{{"name", node.name},
               {"type", node.type},
               {"inputs", node.inputs},
               {"output", node.output.channels_first().extents()}};
    for (const auto& [key, attribute] : node.attributes)
      entry[key] = std::visit([](const auto& value) { return Json(value); }, attribute);
    entry["parameters"] = std::move(parameters);
    list.push_back(std::move(entry));
  }
  return {{"input", input.channels_first().extents()}, {"classes", classes}, {"nodes", std::move(list)}};
}

std::string Graph::text() const {
  TextTable table({"name", "type", "output", "parameters", "MFLOP"});
  int64_t parameters = 0, all_frozen = 0;
  const auto count_text = [](int64_t count, int64_t frozen) {
    return frozen == 0       ? std::to_string(count)
           : frozen == count ? fmt::format("{} frozen", count)
                             : fmt::format("{}, {} frozen", count, frozen);
  };
  double flops = 0;
  for (const GraphNode& node : nodes) {
    int64_t count = 0, frozen = 0;
    for (const Parameter* parameter : node.parameters) {
      count += parameter->shape.elements();
      if (parameter->frozen) frozen += parameter->shape.elements();
    }
    parameters += count;
    all_frozen += frozen;
    flops += static_cast<double>(node.flops);
    table.add_row({node.name, node.type, node.output.channels_first().text(), count_text(count, frozen),
                   fmt::format("{:.3f}", static_cast<double>(node.flops) * 1e-6)});
  }
  table.add_row({"total", "", "", count_text(parameters, all_frozen), fmt::format("{:.3f}", flops * 1e-6)});
  return table.text();
}

}  // namespace noisysgd
