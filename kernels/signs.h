// Random signs on a gradient: what turns one weight-gradient pass into a draw of noise with a chosen covariance.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels {

// What shares one sign in an array [M,T,K]; `none` draws no signs.
enum class SignGrain { none, sample, sample_channel, sample_position, element };

// y[n,t,k] = scale * sign * x[n,t,k], x null: of ones; y may be x. The sign of sample n is bit i%32 of word i/32 of the
// stream (0: +, 1: -) at index i = m, m*K+k, m*T+t or (m*T+t)*K+k with m = sample_offset+n, so it does not depend on
// micro-batches or threads.
NSGD_OP(multiply_signs, void(Queue& queue, int64_t samples, int64_t positions, int64_t channels, SignGrain grain,
                             float scale, const RandomStream& stream, uint64_t sample_offset, const float* x,
                             float* y));  // [M,T,K]

}  // namespace noisysgd::kernels
