// A network from JSON text, as a configuration gives it.
#pragma once

#include <memory>
#include <string>

#include "layers/registry.h"

namespace noisysgd::test {

inline std::unique_ptr<Layer> network_from(const std::string& json, const Shape& input, int64_t classes,
                                           std::optional<int64_t> ghost_size = {},
                                           const LayerRegistry& registry = LayerRegistry::builtin()) {
  Config config(Json{{"model", parse_json(json, "test")}}, "test");
  auto network = registry.build(config.root().object("model"), {registry, "", input, classes, ghost_size});
  config.finish();
  return network;
}

}  // namespace noisysgd::test
