// The noise that a step adds to the mean gradient of one parameter, the same for every optimizer:
//   eps = sqrt(max(0, c0 + cQ Q + cS S^2)) xi + vector,  xi ~ N(0,1), Philox (seed, step, tensor, index)
// One formula for every coordinate-wise Gaussian noise: isotropic (c0), diagonal Fisher (cQ = kappa/M), its centred
// form (cS < 0), gradient-multiplicative (cS > 0). Optimizers draw it in their own pass over the parameters.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/number.h>

namespace noisysgd::kernels {

struct NoiseCoefficients {
  float constant = 0;                              // c0
  float second_moment = 0;                         // cQ
  float gradient_sum = 0;                          // cS
  NoiseCoefficients scaled(double factor) const {  // factor times the variance
    const auto f = static_cast<float>(factor);
    return {f * constant, f * second_moment, f * gradient_sum};
  }
  bool any() const { return constant != 0 || second_moment != 0 || gradient_sum != 0; }
};

// Arrays have one entry per element of the parameter and are on the queue's device.
struct NoiseField {
  NoiseCoefficients variance = {};
  const float* second_moment = nullptr;  // Q; needed if variance.second_moment != 0
  const float* vector = nullptr;         // added as it is, or null
  // Single numbers that multiply the variance, or null: the factor of the noise structure and that of match_trace.
  const float* variance_factor = nullptr;
  const float* match_factor = nullptr;
};

struct NoiseDraw {
  int64_t n = 0;
  const float* gradient_sum = nullptr;  // S; null: 0
  NoiseField field = {};
  uint64_t seed = 0;
  StepNumber step = 0;
  uint32_t tensor = 0;  // third Philox counter word
};

// Throws Error if the noise lacks an array.
void check(const NoiseDraw& draw);

// noise [n] = eps, as an optimizer adds it.
NSGD_OP(draw_noise, void(Queue& queue, const NoiseDraw& draw, float* noise));

struct StepNorms {              // of the whole parameter vector, for the metrics log
  double gradient_squared = 0;  // ||S/M||^2
  double noise_squared = 0;     // ||eps||^2
};

}  // namespace noisysgd::kernels
