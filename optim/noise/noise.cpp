#include "optim/noise/noise.h"

#include <fnmatch.h>

#include <algorithm>
#include <cmath>

#include "optim/noise/diagonal_fisher.h"
#include "optim/noise/isotropic.h"
#include "optim/noise/none.h"

namespace noisysgd {

namespace {

bool matches(const std::string& glob, std::string_view name) {
  return fnmatch(glob.c_str(), std::string(name).c_str(), 0) == 0;
}

}  // namespace

double noise_kappa(int64_t large_batch, int64_t small_batch) {
  if (large_batch <= small_batch) return 0;
  return 1.0 / static_cast<double>(small_batch) - 1.0 / static_cast<double>(large_batch);
}

NoiseRegistry NoiseRegistry::builtin() {
  NoiseRegistry registry;
  registry.add("none", [](const ConfigReader&) { return std::make_unique<NoNoise>(); });
  registry.add("isotropic", IsotropicNoise::read);
  registry.add("diagonal_fisher", DiagonalFisherNoise::read);
  return registry;
}

void NoiseRegistry::add(std::string type, NoiseBuilder builder) {
  const bool is_new = builders_.emplace(type, std::move(builder)).second;
  NSGD_CHECK(is_new, "a noise structure of type '{}' is registered already", type);
}

std::vector<std::string> NoiseRegistry::types() const {
  std::vector<std::string> names;
  for (const auto& [type, builder] : builders_) names.push_back(type);
  return names;
}

std::unique_ptr<NoiseStructure> NoiseRegistry::build(const std::string& type, const ConfigReader& json) const {
  return builders_.at(type)(json);
}

Noise Noise::read(const ConfigReader& json, const NoiseRegistry& registry) {
  Noise noise;
  NoiseOptions& options = noise.options_;
  options.type = json.choice("type", registry.types(), "none");
  if (options.type != "none") {
    options.stop_fraction = json.number("stop_fraction", {.default_value = 0.25, .at_least = 0, .at_most = 1});
    options.after_momentum =
        json.choice<bool>("position", {{"before_momentum", false}, {"after_momentum", true}}, false);
    options.parameters = json.strings("parameters", {.default_value = options.parameters});
    options.scale = json.number("scale", {.default_value = 1, .at_least = 0});
  }
  noise.structure_ = registry.build(options.type, json);
  return noise;
}

Noise Noise::none() {
  Noise noise;
  noise.structure_ = std::make_shared<NoNoise>();
  return noise;
}

bool Noise::applies_to(std::string_view parameter) const {
  return std::any_of(options_.parameters.begin(), options_.parameters.end(),
                     [&](const std::string& glob) { return matches(glob, parameter); });
}

void Noise::check_globs(const std::vector<Parameter*>& parameters) const {
  for (const std::string& glob : options_.parameters) {
    const bool used =
        std::any_of(parameters.begin(), parameters.end(), [&](const Parameter* p) { return matches(glob, p->name); });
    NSGD_CHECK(used, "noise.parameters: \"{}\" matches no parameter of this network", glob);
  }
}

int64_t Noise::steps_with_noise(int64_t total_steps) const {
  return active() ? static_cast<int64_t>(std::llround(options_.stop_fraction * static_cast<double>(total_steps))) : 0;
}

void Noise::prepare(const NoiseStep& step, std::span<kernels::SgdSegment> segments) const {
  structure_->prepare(step, segments);
  const auto variance_scale = static_cast<float>(options_.scale * options_.scale);
  for (size_t i = 0; i < segments.size(); ++i) {
    kernels::SgdSegment& segment = segments[i];
    if (!applies_to(step.parameters[i]->name)) {
      segment.noise = {};
      segment.explicit_noise = nullptr;
      continue;
    }
    segment.noise.constant *= variance_scale;
    segment.noise.second_moment *= variance_scale;
    segment.noise.gradient_sum *= variance_scale;
    NSGD_CHECK(!segment.explicit_noise || options_.scale == 1.0,
               "noise.scale: '{}' draws explicit vectors, which are not rescaled", options_.type);
  }
}

}  // namespace noisysgd
