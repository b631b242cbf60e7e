// Random signs of a gradient. With them, one weight-gradient pass becomes a draw of noise with a chosen covariance.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels {

// Which elements of an array [M,T,K] share one sign; with `none` no signs are drawn.
enum class SignGrain { none, sample, sample_channel, sample_position, element };

// Signs of an array [M,T,K], times scale. A sign is bit i%32 of word i/32 of the stream (0: +, 1: -). Its index i is
// m, m*K+k, m*T+t or (m*T+t)*K+k, in the order of SignGrain, with m = sample_offset+n for sample n. So the sign does
// not depend on micro-batches or threads.
struct SignArray {
  int64_t samples, positions, channels;
  SignGrain grain;
  float scale = 1;
  RandomStream stream{};
  uint64_t sample_offset = 0;
};

// y = signs * x; a null x means ones; y may be x.
NSGD_OP(multiply_signs, void(Queue& queue, const SignArray& signs, const float* x, float* y));  // [M,T,K]

}  // namespace noisysgd::kernels
