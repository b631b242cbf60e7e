#include <noisysgd/layers/models/register.h>

#include <noisysgd/layers/models/alexnet.h>
#include <noisysgd/layers/models/lenet.h>
#include <noisysgd/layers/models/mlp.h>
#include <noisysgd/layers/models/resnet.h>
#include <noisysgd/layers/models/vgg.h>

namespace noisysgd {

namespace {

using LayerPointer = std::unique_ptr<Layer>;

LayerPointer build_mlp(const ConfigReader& json, const LayerContext& at) {
  MlpOptions options;
  options.hidden = json.integers("hidden", {.default_value = options.hidden, .each = {.at_least = 1}});
  options.dropout = static_cast<float>(json.number("dropout", {.default_value = 0, .at_least = 0, .below = 1}));
  return mlp(at.input, at.classes, options);
}

LayerPointer build_lenet(const ConfigReader& json, const LayerContext& at) {
  LenetOptions options;
  options.channels = json.integers("channels", {.default_value = options.channels, .each = {.at_least = 1}});
  options.hidden = json.integer("hidden", {.default_value = options.hidden, .at_least = 1});
  return lenet(at.input, at.classes, options);
}

LayerPointer build_alexnet(const ConfigReader& json, const LayerContext& at) {
  AlexnetOptions options;
  options.batch_norm = json.boolean("batch_norm", true);
  options.dropout = static_cast<float>(json.number("dropout", {.default_value = 0.5, .at_least = 0, .below = 1}));
  options.ghost_size = at.ghost_size;
  return alexnet(at.input, at.classes, options);
}

LayerPointer build_vgg16(const ConfigReader&, const LayerContext& at) {
  return vgg16(at.input, at.classes, {at.ghost_size});
}

LayerPointer build_resnet(const ConfigReader& json, const LayerContext& at) {
  ResnetOptions options;
  options.depth = json.integer("depth", {.default_value = options.depth, .at_least = 8, .at_most = 9998});
  options.width = json.integer("width", {.default_value = options.width, .at_least = 1});
  options.shortcut = json.choice<ResnetShortcut>(
      "shortcut", {{"projection", ResnetShortcut::projection}, {"identity_pad", ResnetShortcut::identity_pad}},
      ResnetShortcut::projection);
  options.ghost_size = at.ghost_size;
  if (options.depth % 6 != 2) {
    json.error("depth", "must be 6n+2: 20, 32, 44, 56, 110, …");
    return nullptr;
  }
  return resnet(at.input, at.classes, options);
}

}  // namespace

void add_models(LayerRegistry& registry) {
  registry.add("mlp", build_mlp);
  registry.add("lenet", build_lenet);
  registry.add("alexnet", build_alexnet);
  registry.add("vgg16", build_vgg16);
  registry.add("resnet", build_resnet);
}

}  // namespace noisysgd
