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

OptimizerOptions OptimizerRegistry::read(const ConfigReader& json) const {
  OptimizerOptions options;
  options.type = read_type(json, options.type);
  options.learning_rate =
      json.number("learning_rate", {.default_value = at(options.type).learning_rate, .above = 0});
  return options;
}

}  // namespace noisysgd
