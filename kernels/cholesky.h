// The Cholesky factor of a covariance matrix, for drawing samples with that covariance.
#pragma once

#include <cstdint>
#include <vector>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// lower lower^T = scale A + jitter scale (tr A / n) I for a symmetric positive semidefinite A, factored in double
// precision. If rounding has made A too indefinite for the jitter, larger ones are tried (cholesky_jitters). A zero A
// gives zeros. Throws Error for an A that is not finite or that no jitter makes positive definite. On a CUDA device,
// where the host does not wait for the result, `lower` becomes NaN instead.
NSGD_OP(cholesky, void(Queue& queue, int64_t n, float scale, double jitter, const float* a,  // [n,n]
                       float* lower));  // [n,n], zero above the diagonal; overwritten; may be a

// The jitters in the order in which they are tried: `first`, then tenfold each time (1e-9 after 0), up to and including
// the first one above 1 %.
inline std::vector<double> cholesky_jitters(double first) {
  std::vector<double> jitters{first};
  while (jitters.back() <= 0.01) jitters.push_back(jitters.back() == 0 ? 1e-9 : 10 * jitters.back());
  return jitters;
}

}  // namespace noisysgd::kernels
