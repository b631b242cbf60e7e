// Initial values of parameters: each layer has its default, which rules in a configuration override by parameter name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <noisysgd/core/config.h>

namespace noisysgd {

struct Parameter;

// N(mean, std^2), drawn for each element; the constant mean if std is 0.
struct Initialisation {
  float mean = 0.0f, std = 0.0f;

  static Initialisation constant(float value) { return {value, 0.0f}; }
  static Initialisation he_normal(int64_t fan_in);  // N(0, 2/fan_in), He et al. 2015
};

struct InitialisationRule {
  std::vector<std::string> parameters;  // globs of names
  Initialisation initialisation;
};

// The list `key` of objects {"parameters": ["fc.weight"], "mean": 0, "std": 0.01}; empty if absent.
std::vector<InitialisationRule> read_initialisation_rules(const ConfigReader& json, std::string_view key);

// Sets the Initialisation of each matching parameter; the last matching rule applies. ParameterSet::initialise then
// draws the values. Throws Error for a glob that matches no parameter.
void apply_initialisation_rules(const std::vector<InitialisationRule>& rules,
                                const std::vector<Parameter*>& parameters);

}  // namespace noisysgd
