// The noisy AdamW step (Loshchilov & Hutter 2019), one fused pass over all parameters, with g = S/M and eps of
// kernels/noise_field.h; t counts steps from 1:
//
//   before_momentum:  d = g + eps,  m = b1 m + (1-b1) d,  v = b2 v + (1-b2) d^2,
//                     theta -= alpha (mhat / (sqrt(vhat) + e) + lambda theta)
//                     with mhat = m / (1 - b1^t) and vhat = v / (1 - b2^t)
//
//   after_momentum:   d = g, and theta -= alpha eps in addition: the noise is not divided by sqrt(vhat)
#pragma once

#include <cstdint>
#include <span>

#include <noisysgd/kernels/noise_field.h>

namespace noisysgd::kernels {

struct AdamWSegment {  // one parameter tensor of n elements
  int64_t n = 0;
  float* value = nullptr;               // theta
  float* first = nullptr;               // m
  float* second = nullptr;              // v
  const float* gradient_sum = nullptr;  // S = sum_n g_n
  NoiseField noise = {};
  uint32_t tensor = 0;  // third Philox counter word
};

struct AdamWHyperparameters {
  Number<float> learning_rate = 0;
  float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f, weight_decay = 0;
  float inverse_batch = 0;               // 1/M
  Number<double> gradient_factor = 1.0;  // multiplies g; the norms are of the unscaled g
  Number<uint32_t> halted = 0;           // if not 0, the step does nothing
  bool noise_after_momentum = false;
  uint64_t seed = 0;
  StepNumber step = 0;  // t - 1
};

// Throws Error if a segment lacks a buffer.
void check(const AdamWSegment& segment, const AdamWHyperparameters& hyperparameters);

NSGD_OP(adamw_step, void(Queue& queue, std::span<const AdamWSegment> segments,
                         const AdamWHyperparameters& hyperparameters,
                         StepNorms* norms));  // on the queue's device, accumulated; or null

}  // namespace noisysgd::kernels
