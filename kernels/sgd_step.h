// The noisy SGD step, one fused pass over all parameters (Algorithm 1 with momentum and weight decay), with
// g = S/M and eps of kernels/noise_field.h:
//
//   before_momentum:  d = g + eps + lambda theta,  v = mu v + d,  theta -= alpha v
//
//   after_momentum:   d = g + lambda theta,        v = mu v + d,  theta -= alpha (v + eps)
//
// With nesterov, theta moves by d + mu v in place of v.
#pragma once

#include <cstdint>
#include <span>

#include <noisysgd/kernels/noise_field.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels {

struct SgdSegment {  // one parameter tensor of n elements
  int64_t n = 0;
  float* value = nullptr;               // theta
  float* velocity = nullptr;            // v
  const float* gradient_sum = nullptr;  // S = sum_n g_n
  NoiseField noise = {};
  float weight_decay = 0;
  uint32_t tensor = 0;  // third Philox counter word
};

struct SgdHyperparameters {
  Number<float> learning_rate = 0;
  float momentum = 0;
  float inverse_batch = 0;               // 1/M
  Number<double> gradient_factor = 1.0;  // multiplies g; the norms are of the unscaled g
  Number<uint32_t> halted = 0;           // if not 0, the step does nothing
  bool nesterov = false;
  bool noise_after_momentum = false;
  uint64_t seed = 0;
  StepNumber step = 0;
};

// Throws Error if a segment lacks a buffer that it, its noise or the momentum needs.
void check(const SgdSegment& segment, const SgdHyperparameters& hyperparameters);

NSGD_OP(sgd_step, void(Queue& queue, std::span<const SgdSegment> segments, const SgdHyperparameters& hyperparameters,
                       StepNorms* norms));  // on the queue's device, accumulated; or null

}  // namespace noisysgd::kernels
