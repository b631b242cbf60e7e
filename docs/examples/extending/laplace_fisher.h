// An example noise structure: eps = sqrt(kappa diag F) z with z ~ Laplace(0, 1/sqrt 2), which has variance 1. Its
// covariance is that of diagonal_fisher, its tails are heavier: it shows whether the shape of the distribution matters.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>

#include <noisysgd/optim/noise/structure.h>

class LaplaceFisher : public noisysgd::NoiseStructure {
 public:
  explicit LaplaceFisher(int64_t small_batch) : small_batch_(small_batch) {}

  // Its own key; every structure also has stop_fraction, position, parameters, scale.
  static std::unique_ptr<NoiseStructure> read(const noisysgd::ConfigReader& json) {
    return std::make_unique<LaplaceFisher>(json.integer("small_batch", {.default_value = 128, .at_least = 1}));
  }

  noisysgd::NoiseCapabilities capabilities() const override { return {.second_moment = true}; }

  // One vector per parameter, which is added to its mean gradient; step.kept owns it
  // until then. The numbers are a function of (seed, step, parameter, index),
  // so a resumed run draws the same ones.
  void prepare(const noisysgd::NoiseStep& step, std::span<noisysgd::kernels::NoiseField> fields) override {
    const double kappa = noisysgd::noise_kappa(step.batch, small_batch_);
    for (size_t p = 0; p < fields.size(); ++p) {
      const noisysgd::Parameter& parameter = *step.parameters[p];
      const noisysgd::Tensor& noise = step.kept.emplace_back(step.context, parameter.shape);
      const noisysgd::RandomStream stream{step.seed, step.step, parameter.index, noisysgd::RandomPurpose::noise};
      // diag(F) comes from this step's sums, or with fisher.refresh_every or fisher.ema from an average over steps.
      const auto [fisher, squares] = fisher_source(step.fisher, parameter);
      const float* const sums = step.sums.gradient.at(parameter);
      for (int64_t i = 0; i < noise.elements(); ++i) {
        const double variance = fisher.second_moment * squares[i] + fisher.gradient_sum * sums[i] * sums[i];
        const double u = noisysgd::uniform_from_word(random_word(stream, static_cast<uint64_t>(i))) - 0.5;
        const double z = std::copysign(-std::log(1 - 2 * std::abs(u)), u) / std::sqrt(2.0);
        noise.f32()[i] = static_cast<float>(std::sqrt(kappa * std::max(variance, 0.0)) * z);
      }
      fields[p].vector = noise.f32();
    }
  }

 private:
  int64_t small_batch_;
};
