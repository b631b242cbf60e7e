// The noisy SGD step, one fused pass over all parameters (Algorithm 1 with momentum and weight decay):
//   g = S/M,  eps = sqrt(max(0, c0 + cQ Q + cS S^2)) xi + explicit,  xi ~ N(0,1), Philox (seed, step, tensor, index)
//
//   before_momentum:  d = g + eps + lambda theta,  v = mu v + d,  theta -= alpha v
//
//   after_momentum:   d = g + lambda theta,        v = mu v + d,  theta -= alpha (v + eps)
//
// With nesterov, theta moves by d + mu v in place of v.
// One formula for every coordinate-wise Gaussian noise: isotropic (c0), diagonal Fisher (cQ = kappa/M), its centred
// form (cS < 0), gradient-multiplicative (cS > 0).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/dispatch.h"
#include "kernels/philox.h"

namespace noisysgd::kernels {

struct NoiseCoefficients {
  float constant = 0;                              // c0
  float second_moment = 0;                         // cQ
  float gradient_sum = 0;                          // cS
  NoiseCoefficients scaled(double factor) const {  // of the variance
    const auto f = static_cast<float>(factor);
    return {f * constant, f * second_moment, f * gradient_sum};
  }
  bool any() const { return constant != 0 || second_moment != 0 || gradient_sum != 0; }
};

struct SgdSegment {  // one parameter tensor of n elements
  int64_t n = 0;
  float* value = nullptr;                 // theta
  float* velocity = nullptr;              // v
  const float* gradient_sum = nullptr;    // S = sum_n g_n
  const float* second_moment = nullptr;   // Q = sum_n g_n^2; needed if noise.second_moment != 0
  const float* explicit_noise = nullptr;  // added as it is, or null
  NoiseCoefficients noise;
  // Numbers on the queue's device that multiply `noise`, or null: of the structure, and of match_trace.
  const float* variance_factor = nullptr;
  const float* match_factor = nullptr;
  float weight_decay = 0;
  uint32_t tensor = 0;  // third Philox counter word
};

struct SgdHyperparameters {
  Number<float> learning_rate = 0;
  float momentum = 0;
  float inverse_batch = 0;               // 1/M
  Number<double> gradient_factor = 1.0;  // multiplies g, but not in the norms
  Number<uint32_t> halted = 0;           // unless it is 0, nothing is done
  bool nesterov = false;
  bool noise_after_momentum = false;
  uint64_t seed = 0;
  StepNumber step = 0;
};

// Throws Error for a segment that lacks a buffer which its noise or momentum needs.
void check(const SgdSegment& segment, const SgdHyperparameters& hyperparameters);

struct SgdNorms {               // of the whole parameter vector, filled when asked for: what the metrics log shows
  double gradient_squared = 0;  // ||S/M||^2
  double noise_squared = 0;     // ||eps||^2
};

NSGD_OP(sgd_step, void(Queue& queue, std::span<const SgdSegment> segments, const SgdHyperparameters& hyperparameters,
                       SgdNorms* norms));  // on the queue's device: accumulated, or null

// noise[i] = what sgd_step would add to the gradient of this segment.
NSGD_OP(draw_noise,
        void(Queue& queue, const SgdSegment& segment, const SgdHyperparameters& hyperparameters, float* noise));

}  // namespace noisysgd::kernels
