// A noise structure of one's own: eps = sqrt(kappa diag F) z with z ~ Laplace(0, 1/sqrt 2), so of variance 1. The
// covariance of diagonal_fisher under heavier tails: does the covariance matter, or the shape of the distribution?
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>

#include <noisysgd/optim/noise/structure.h>

class LaplaceFisher : public noisysgd::NoiseStructure {
 public:
  explicit LaplaceFisher(int64_t small_batch) : small_batch_(small_batch) {}

  // Beside the options that every structure shares: stop_fraction, position, parameters, scale.
  static std::unique_ptr<NoiseStructure> read(const noisysgd::ConfigReader& json) {
    return std::make_unique<LaplaceFisher>(json.integer("small_batch", {.default_value = 128, .at_least = 1}));
  }

  noisysgd::NoiseCapabilities capabilities() const override { return {.second_moment = true}; }

  // One vector per parameter, added to its mean gradient as it stands; step.kept
  // keeps it until then. The numbers are a function of (seed, step, parameter, index),
  // so a resumed run continues with the same ones.
  void prepare(const noisysgd::NoiseStep& step, std::span<noisysgd::kernels::NoiseField> fields) override {
    const double kappa = noisysgd::noise_kappa(step.batch, small_batch_);
    for (size_t p = 0; p < fields.size(); ++p) {
      const noisysgd::Parameter& parameter = *step.parameters[p];
      const noisysgd::Tensor& noise = step.kept.emplace_back(step.context, parameter.shape);
      const noisysgd::RandomStream stream{step.seed, step.step, parameter.index, noisysgd::RandomPurpose::noise};
      // diag(F): of this step's sums, or of an average over steps if fisher.refresh_every or fisher.ema ask for one.
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
