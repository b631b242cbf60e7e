// A noise structure of one's own: eps = sqrt(kappa diag F) z with z ~ Laplace(0, 1/sqrt 2), so of variance 1. The
// covariance of diagonal_fisher under heavier tails: does the covariance matter, or the shape of the distribution?
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "optim/noise/noise.h"

class LaplaceFisher : public noisysgd::NoiseStructure {
 public:
  explicit LaplaceFisher(int64_t small_batch) : small_batch_(small_batch) {}

  // Beside the options that every structure shares: stop_fraction, position, parameters, scale.
  static std::unique_ptr<NoiseStructure> read(const noisysgd::ConfigReader& json) {
    return std::make_unique<LaplaceFisher>(json.integer("small_batch", {.default_value = 128, .at_least = 1}));
  }

  bool needs_second_moment() const override { return true; }

  // One vector per parameter, added to its mean gradient as it stands; step.vectors
  // keeps it until then. The numbers are a function of (seed, step, parameter, index),
  // so a resumed run continues with the same ones.
  void prepare(const noisysgd::NoiseStep& step, std::span<noisysgd::kernels::SgdSegment> segments) override {
    const double root_kappa = std::sqrt(noisysgd::noise_kappa(step.batch, small_batch_));
    for (size_t p = 0; p < segments.size(); ++p) {
      const noisysgd::Parameter& parameter = *step.parameters[p];
      const noisysgd::Tensor& noise = step.vectors.emplace_back(step.context, parameter.shape);
      const noisysgd::RandomStream stream{step.seed, step.step, parameter.index, noisysgd::RandomPurpose::noise};
      noisysgd::fisher_diagonal(step.fisher, parameter, step.batch, noise.f32());
      for (int64_t i = 0; i < noise.elements(); ++i) {
        const double u = noisysgd::uniform_from_word(random_word(stream, static_cast<uint64_t>(i))) - 0.5;
        const double z = std::copysign(-std::log(1 - 2 * std::abs(u)), u) / std::sqrt(2.0);
        noise.f32()[i] = static_cast<float>(root_kappa * std::sqrt(noise.f32()[i]) * z);
      }
      segments[p].explicit_noise = noise.f32();
    }
  }

 private:
  int64_t small_batch_;
};
