#include <noisysgd/core/initialisation.h>

#include <fmt/format.h>

#include <cmath>

#include <noisysgd/core/glob.h>
#include <noisysgd/core/parameter.h>

namespace noisysgd {

Initialisation Initialisation::he_normal(int64_t fan_in) {
  return {0.0f, std::sqrt(2.0f / static_cast<float>(fan_in))};
}

std::vector<InitialisationRule> read_initialisation_rules(const ConfigReader& json, std::string_view key) {
  std::vector<InitialisationRule> rules;
  for (const ConfigReader& rule : json.objects(key)) {
    const auto globs = rule.strings("parameters", {.length = {.at_least = 1}});
    const auto mean = static_cast<float>(rule.number("mean", {.default_value = 0}));
    const auto std = static_cast<float>(rule.number("std", {.default_value = 0, .at_least = 0}));
    rules.push_back({globs, {mean, std}});
  }
  return rules;
}

void apply_initialisation_rules(const std::vector<InitialisationRule>& rules,
                                const std::vector<Parameter*>& parameters) {
  for (size_t i = 0; i < rules.size(); ++i) {
    for (const std::string& glob : rules[i].parameters) {
      check_glob(fmt::format("init[{}].parameters", i), glob, parameters);
      for (Parameter* parameter : parameters)
        if (matches_glob(glob, parameter->name)) parameter->initialisation = rules[i].initialisation;
    }
  }
}

}  // namespace noisysgd
