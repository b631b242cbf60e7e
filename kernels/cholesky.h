// Cholesky factor of a covariance, to draw from it.
#pragma once

#include <cstdint>
#include <vector>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// lower lower^T = scale A + jitter scale (tr A / n) I for a symmetric positive semidefinite A, factored in double
// precision. Where rounding has made A too indefinite the jitter grows tenfold at a time; a zero A gives zeros, and one
// that no jitter up to 1 % mends (or that is not finite) is an Error. On a CUDA device, where nothing waits for the
// result, it gives NaN instead.
NSGD_OP(cholesky, void(Queue& queue, int64_t n, float scale, double jitter, const float* a,  // [n,n]
                       float* lower));  // [n,n], zero above the diagonal; overwritten; may be a

// The jitters that are tried, one after the other.
inline std::vector<double> cholesky_jitters(double first) {
  std::vector<double> jitters{first};
  while (jitters.back() <= 0.01) jitters.push_back(jitters.back() == 0 ? 1e-9 : 10 * jitters.back());
  return jitters;
}

}  // namespace noisysgd::kernels
