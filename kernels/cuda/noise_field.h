// The noise of kernels/noise_field.h at four neighbouring elements, for kernels of optimizers.
#pragma once

#include <noisysgd/kernels/cuda/arithmetic.h>
#include <noisysgd/kernels/noise_field.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels::cuda {

// Elements i .. i+3, in a single access if all of them exist and the address is aligned.
__device__ inline float4 load4(const float* from, int64_t n, int64_t i) {
  if (i + 4 <= n && reinterpret_cast<uintptr_t>(from) % sizeof(float4) == 0)
    return *reinterpret_cast<const float4*>(from + i);
  return {from[i], i + 1 < n ? from[i + 1] : 0, i + 2 < n ? from[i + 2] : 0, i + 3 < n ? from[i + 3] : 0};
}

__device__ inline void store4(float* to, int64_t n, int64_t i, const float4& values) {
  if (i + 4 <= n && reinterpret_cast<uintptr_t>(to) % sizeof(float4) == 0) {
    *reinterpret_cast<float4*>(to + i) = values;
    return;
  }
  to[i] = values.x;
  if (i + 1 < n) to[i + 1] = values.y;
  if (i + 2 < n) to[i + 2] = values.z;
  if (i + 3 < n) to[i + 3] = values.w;
}

struct Four {
  float at[4];
};

__device__ inline Four load_or_zero(const float* from, int64_t n, int64_t i) {
  if (!from) return {};
  const float4 values = load4(from, n, i);
  return {{values.x, values.y, values.z, values.w}};
}

__device__ inline void store(float* to, int64_t n, int64_t i, const Four& v) {
  store4(to, n, i, {v.at[0], v.at[1], v.at[2], v.at[3]});
}

// The field's coefficients times its factors in device memory.
__device__ inline NoiseCoefficients coefficients_of(const NoiseField& field) {
  NoiseCoefficients c = field.variance;
  for (const float* factor : {field.variance_factor, field.match_factor}) {
    if (!factor) continue;
    c.constant *= *factor;
    c.second_moment *= *factor;
    c.gradient_sum *= *factor;
  }
  return c;
}

// eps of elements i .. i+3, from the Philox block i/4 of the tensor's stream
__device__ inline Four noise_at(const NoiseDraw& draw, int64_t i, const Four& gradient_sum) {
  Four noise = load_or_zero(draw.field.vector, draw.n, i);
  const NoiseCoefficients c = coefficients_of(draw.field);
  if (c.constant == 0 && c.second_moment == 0 && c.gradient_sum == 0) return noise;
  const Four second_moment = c.second_moment != 0 ? load_or_zero(draw.field.second_moment, draw.n, i) : Four{};
  const RandomStream stream{draw.seed, draw.step, draw.tensor, RandomPurpose::noise};
  float normals[4];
  draw_normals(stream, static_cast<uint32_t>(i / 4), normals);
  for (int k = 0; k < 4; ++k) {
    float variance = gradient_sum.at[k] * gradient_sum.at[k] * c.gradient_sum + c.constant;
    if (c.second_moment != 0) variance += second_moment.at[k] * c.second_moment;
    if (variance < 0) variance = 0;  // NaN stays NaN
    noise.at[k] += sqrtf(variance) * normals[k];
  }
  return noise;
}

}  // namespace noisysgd::kernels::cuda
