// eps = sigma xi: covariance sigma^2 I for a given sigma. No cost beyond the draw.
#pragma once

#include <noisysgd/optim/noise/structure.h>

namespace noisysgd {

class IsotropicNoise : public NoiseStructure {
 public:
  explicit IsotropicNoise(double sigma) : variance_(static_cast<float>(sigma * sigma)) {}

  static std::unique_ptr<NoiseStructure> read(const ConfigReader& json) {
    return std::make_unique<IsotropicNoise>(read_amplitude(json, "sigma"));
  }

  void prepare(const NoiseStep&, std::span<kernels::NoiseField> fields) override {
    for (kernels::NoiseField& field : fields) field.variance.constant = variance_;
  }

  Tensor trace(const NoiseStep& step) const override {
    return constant_trace(step, variance_ * static_cast<double>(count_elements(step.parameters)));
  }

 private:
  float variance_;
};

}  // namespace noisysgd
