// Random signs on a gradient: what turns one weight-gradient pass into a draw of noise with a chosen covariance.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels {

// What shares one sign in an array [M,T,K]; `none` draws no signs.
enum class SignGrain { none, sample, sample_channel, sample_position, element };

// Signs of an array [M,T,K], times scale. That of sample n is bit i%32 of word i/32 of the stream (0: +, 1: -) at index
// i = m, m*K+k, m*T+t or (m*T+t)*K+k with m = sample_offset+n, so it does not depend on micro-batches or threads.
struct SignArray {
  int64_t samples, positions, channels;
  SignGrain grain;
  float scale = 1;
  RandomStream stream{};
  uint64_t sample_offset = 0;
};

// y = signs * x, x null: of ones; y may be x.
NSGD_OP(multiply_signs, void(Queue& queue, const SignArray& signs, const float* x, float* y));  // [M,T,K]

}  // namespace noisysgd::kernels
