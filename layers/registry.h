// Maps JSON types to layers. A user-defined layer is registered by one call of `add` on the registry that the program
// passes to its configuration:
//
//   registry.add("swish", [](const ConfigReader& json, const LayerContext& at) {
//     return std::make_unique<Swish>(at.name, at.input);
//   });
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <noisysgd/core/registry.h>
#include <noisysgd/layers/layer.h>

namespace noisysgd {

class LayerRegistry;

// First parts of the names of other tensors in a checkpoint; the name of a layer must not begin with one of them.
inline constexpr std::string_view checkpoint_scopes[] = {"momentum", "adamw", "average", "fisher", "kfac"};

// The context in which a layer is built.
struct LayerContext {
  const LayerRegistry& registry;
  std::string name;
  Shape input;                        // of one sample: [H,W,C] or [features]
  int64_t classes = 0;                // of the data set
  std::optional<int64_t> ghost_size;  // batch.ghost_size: the default of every batch_norm
};

using LayerBuilder = std::function<std::unique_ptr<Layer>(const ConfigReader& json, const LayerContext& at)>;

struct LayerEntry {
  LayerBuilder builder;
  std::string name_prefix = "";  // default names are prefix1, prefix2, …; empty: the type itself
};

class LayerRegistry : public Registry<LayerEntry> {
 public:
  LayerRegistry() : Registry("a layer") {}
  // All layers and models of this library.
  static LayerRegistry builtin();

  std::string name_prefix(const std::string& type) const;

  // Builds {"type": …, …}. Invalid values are recorded in the reader; null if no layer could be built.
  std::unique_ptr<Layer> build(const ConfigReader& json, const LayerContext& at) const;
};

// The third Philox word of a layer's random stream: FNV-1a of its name, independent of the other layers.
constexpr uint32_t stream_of(std::string_view name) {
  uint32_t hash = 2166136261u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

}  // namespace noisysgd
