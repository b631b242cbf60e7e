#include <noisysgd/optim/learning_rate_scaling.h>

#include <cmath>

namespace noisysgd {

double LearningRateScaling::factor(int64_t batch) const {
  const double ratio = static_cast<double>(batch) / static_cast<double>(base_batch);
  return rule == ScalingRule::none ? 1 : rule == ScalingRule::linear ? ratio : std::sqrt(ratio);
}

LearningRateScaling read_learning_rate_scaling(const ConfigReader& json) {
  LearningRateScaling scaling;
  scaling.rule = json.choice<ScalingRule>(
      "type", {{"none", ScalingRule::none}, {"linear", ScalingRule::linear}, {"square_root", ScalingRule::square_root}},
      ScalingRule::none);
  if (scaling.rule != ScalingRule::none)
    scaling.base_batch = json.integer("base_batch", {.default_value = 128, .at_least = 1});
  return scaling;
}

}  // namespace noisysgd
