#include <noisysgd/layers/registry.h>

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include <noisysgd/core/utf8.h>
#include <noisysgd/layers/activation.h>
#include <noisysgd/layers/batch_norm.h>
#include <noisysgd/layers/builder.h>
#include <noisysgd/layers/conv2d.h>
#include <noisysgd/layers/linear.h>
#include <noisysgd/layers/models/register.h>
#include <noisysgd/layers/pool.h>
#include <noisysgd/layers/reshape.h>

namespace noisysgd {

namespace {

using LayerPointer = std::unique_ptr<Layer>;

constexpr size_t longest_name = 200;

// Why a layer in this scope cannot have this name; empty if it can.
std::string name_problem(const std::string& scope, const std::string& name) {
  if (has_control_characters(name)) return "must not contain control characters";
  if (name.size() > longest_name) return fmt::format("must not have more than {} bytes", longest_name);
  if (!scope.empty()) return {};
  if (name == "input" || name == "loss") return fmt::format("\"{}\" names the network's {}", name, name);
  const std::string first = name.substr(0, name.find('.'));
  if (std::find(std::begin(checkpoint_scopes), std::end(checkpoint_scopes), first) != std::end(checkpoint_scopes))
    return fmt::format("\"{}\" names tensors of a checkpoint that belong to other layers", first);
  return {};
}

// The layers under `key`, in sequence. Stops at the first that cannot be built, because the shapes after it are
// unknown.
std::unique_ptr<Sequential> build_list(const ConfigReader& json, std::string_view key, const std::string& scope,
                                       const LayerContext& at) {
  NetworkBuilder net(scope, at.input);
  std::set<std::string> names;
  bool built = true;
  for (const ConfigReader& entry : json.objects(key)) {
    if (!built) {
      entry.give_up();
      continue;
    }
    const std::string type = at.registry.read_type(entry);
    const std::string given = entry.string("name", "");
    const std::string automatic = net.next_name(at.registry.name_prefix(type));
    const std::string name = given.empty() ? automatic : scope + given;
    if (const std::string problem = name_problem(scope, given); !problem.empty())
      entry.error("name", problem);
    else if (!names.insert(name).second)
      entry.error("name", fmt::format("\"{}\" is the name of an earlier layer{}", name,
                                      given.empty() ? "; give this layer a \"name\" of its own" : ""));
    LayerPointer layer = at.registry.build(entry, {at.registry, name, net.shape(), at.classes, at.ghost_size});
    built = layer != nullptr;
    if (built) net.append(std::move(layer));
  }
  return built ? net.build() : nullptr;
}

LayerPointer build_residual(const ConfigReader& json, const LayerContext& at) {
  auto body = build_list(json, "body", at.name + ".", at);
  auto shortcut = build_list(json, "shortcut", at.name + ".shortcut.", at);  // absent: the identity
  if (!body || !shortcut) return nullptr;
  return std::make_unique<Residual>(at.name, std::move(body), std::move(shortcut));
}

LayerPointer build_sequential(const ConfigReader& json, const LayerContext& at) {
  return build_list(json, "layers", at.name.empty() ? "" : at.name + ".", at);
}

LayerPointer build_conv2d(const ConfigReader& json, const LayerContext& at) {
  Conv2dOptions options;
  options.out_channels = json.integer("out_channels", {.at_least = 1});
  constexpr int64_t most = 65536;  // oneDNN refuses strides near 2^31
  options.kernel = json.integer_pair("kernel", {.at_least = 1, .at_most = most});
  options.stride = json.integer_pair("stride", {.default_value = 1, .at_least = 1, .at_most = most});
  options.padding = json.integer_pair("padding", {.default_value = 0, .at_least = 0, .at_most = most});
  options.bias = json.boolean("bias", true);
  return std::make_unique<Conv2d>(at.name, at.input, options);
}

LayerPointer build_linear(const ConfigReader& json, const LayerContext& at) {
  LinearOptions options;
  options.out_features = json.integer("out_features", {.default_value = at.classes, .at_least = 1});
  options.bias = json.boolean("bias", true);
  return std::make_unique<Linear>(at.name, at.input, options);
}

LayerPointer build_batch_norm(const ConfigReader& json, const LayerContext& at) {
  BatchNormOptions options;
  options.ghost_size = json.has("ghost_size") ? json.optional_integer("ghost_size", {.at_least = 1}) : at.ghost_size;
  options.epsilon = static_cast<float>(json.number("epsilon", {.default_value = 1e-5, .above = 0}));
  options.momentum = static_cast<float>(json.number("momentum", {.default_value = 0.1, .at_least = 0, .at_most = 1}));
  return std::make_unique<BatchNorm>(at.name, at.input, options);
}

LayerPointer build_dropout(const ConfigReader& json, const LayerContext& at) {
  const double probability = json.number("probability", {.default_value = 0.5, .at_least = 0, .below = 1});
  return std::make_unique<Dropout>(at.name, at.input, static_cast<float>(probability), stream_of(at.name));
}

template <class Pool>
LayerPointer build_pool(const ConfigReader& json, const LayerContext& at) {
  PoolOptions options;
  options.kernel =
      json.integer("kernel", {.default_value = 2, .at_least = 1, .at_most = 15});  // a maximum's index is one byte
  options.stride = json.integer("stride", {.default_value = options.kernel, .at_least = 1});
  options.padding = json.integer("padding", {.default_value = 0, .at_least = 0});
  return std::make_unique<Pool>(at.name, at.input, options);
}

template <class LayerType>
LayerPointer build_plain(const ConfigReader&, const LayerContext& at) {
  return std::make_unique<LayerType>(at.name, at.input);
}

LayerPointer build_pad_channels(const ConfigReader& json, const LayerContext& at) {
  const int64_t stride = json.integer("stride", {.default_value = 1, .at_least = 1});
  const int64_t channels = json.integer("channels", {.at_least = 1});
  return std::make_unique<PadChannels>(at.name, at.input, stride, channels);
}

}  // namespace

LayerRegistry LayerRegistry::builtin() {
  LayerRegistry registry;
  registry.add("linear", build_linear);
  registry.add("conv2d", build_conv2d, "conv");
  registry.add("batch_norm", build_batch_norm, "bn");
  registry.add("relu", build_plain<Relu>);
  registry.add("dropout", build_dropout);
  registry.add("flatten", build_plain<Flatten>);
  registry.add("max_pool", build_pool<MaxPool>, "pool");
  registry.add("average_pool", build_pool<AveragePool>, "pool");
  registry.add("global_average_pool", build_plain<GlobalAveragePool>, "pool");
  registry.add("pad_channels", build_pad_channels, "pad");
  registry.add("sequential", build_sequential);
  registry.add("residual", build_residual, "block");
  add_models(registry);
  return registry;
}

std::string LayerRegistry::name_prefix(const std::string& type) const {
  const std::string& prefix = at(type).name_prefix;
  return prefix.empty() ? type : prefix;
}

std::unique_ptr<Layer> LayerRegistry::build(const ConfigReader& json, const LayerContext& at) const {
  const std::string type = read_type(json);
  try {
    return this->at(type).builder(json, at);
  } catch (const ConfigError&) {
    throw;
  } catch (const Error& error) {  // shapes that do not fit
    json.error("type", error.what());
    return nullptr;
  }
}

}  // namespace noisysgd
