// A network from JSON text, as a configuration gives it, and a batch for it.
#pragma once

#include <memory>
#include <string>

#include <noisysgd/core/json.h>
#include <noisysgd/layers/model.h>
#include <noisysgd/layers/registry.h>
#include "tests/random_tensor.h"

namespace noisysgd::test {

inline std::unique_ptr<Layer> network_from(const std::string& json, const Shape& input, int64_t classes,
                                           std::optional<int64_t> ghost_size = {},
                                           const LayerRegistry& registry = LayerRegistry::builtin()) {
  Config config(Json{{"model", parse_json(json, "test")}}, "test");
  auto network = registry.build(config.root().object("model"), {registry, "", input, classes, ghost_size});
  config.finish();
  return network;
}

// Images between -1 and 1 from the test data's `stream`, labels from the one after it.
inline Batch random_batch(Context& context, const Shape& image, int64_t samples, int64_t classes, uint32_t stream = 1) {
  const Shape images = image.batched(samples);
  return {from_host(context, images, random_tensor(images.elements(), stream)),
          from_host(context, {samples}, random_integers(samples, stream + 1, static_cast<uint32_t>(classes)))};
}

}  // namespace noisysgd::test
