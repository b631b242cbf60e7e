#include <noisysgd/optim/optimizer.h>

#include <noisysgd/optim/adamw.h>
#include <noisysgd/optim/sgd.h>

namespace noisysgd {

OptimizerRegistry OptimizerRegistry::builtin() {
  OptimizerRegistry registry;
  registry.add("sgd", Sgd::read, 0.1);
  registry.add("adamw", AdamW::read, 0.001);
  return registry;
}

void OptimizerRegistry::add(std::string type, OptimizerBuilder builder, double learning_rate) {
  const bool is_new = entries_.emplace(type, Entry{std::move(builder), learning_rate}).second;
  NSGD_CHECK(is_new, "an optimizer of type '{}' is registered already", type);
}

OptimizerOptions OptimizerRegistry::read(const ConfigReader& json) const {
  std::vector<std::string> types;
  for (const auto& [type, entry] : entries_) types.push_back(type);
  OptimizerOptions options;
  options.type = json.choice("type", types, options.type);
  options.learning_rate =
      json.number("learning_rate", {.default_value = entries_.at(options.type).learning_rate, .above = 0});
  return options;
}

std::unique_ptr<Optimizer> OptimizerRegistry::build(const std::string& type, const ConfigReader& json) const {
  return entries_.at(type).builder(json);
}

}  // namespace noisysgd
