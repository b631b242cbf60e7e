// Cholesky factors on the CUDA device: they agree with the CPU's; a matrix without one is handled.
#include <noisysgd/kernels/cholesky.h>

#include <cmath>
#include <limits>

#include "tests/catch.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

TEST_CASE("Cholesky factors agree on both devices") {
  BothQueues both;
  for (const int64_t n : {1, 33, 64, 65, 128, 150}) {  // one tile and several, whole and not
    CAPTURE(n);
    const std::vector<float> root = random_tensor(n * 2 * n, 1);
    std::vector<float> matrix(n * n);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        for (int64_t k = 0; k < 2 * n; ++k) matrix[i * n + j] += root[i * 2 * n + k] * root[j * 2 * n + k];
    Floats a(matrix), lower(nan_tensor(n * n)), in_place(matrix);
    both.run([&](Queue& q) {
      cholesky(q, n, 0.5f, 1e-6, a.on(q), lower.on(q));
      cholesky(q, n, 0.5f, 1e-6, in_place.on(q), in_place.on(q));
    });
    CHECK(lower.difference() == "");
    CHECK(in_place.on_cuda() == lower.on_cuda());
  }
}

TEST_CASE(
    "Cholesky on the device: larger jitters until one is enough, zeros for zeros, NaN for what is no covariance") {
  Queue queue({Backend::cuda});
  const auto factor_of = [&](int64_t n, const std::vector<float>& matrix, double jitter) {
    Floats a(matrix), lower(nan_tensor(n * n));
    cholesky(queue, n, 1.0f, jitter, a.on(queue), lower.on(queue));
    queue.synchronize();
    return lower.on_cuda();
  };
  // diag(1, …, 1, -d): enough is the smallest jitter of 1e-9, 1e-8, … with a share of the trace above d.
  constexpr int64_t n = 70;
  std::vector<float> matrix(n * n);
  for (int64_t i = 0; i < n; ++i) matrix[i * n + i] = i + 1 < n ? 1.0f : -3e-5f;
  const double share = (n - 1 - 3e-5) / n, jitter = 1e-4 * share;  // 1e-5 of it would not do
  const std::vector<float> lower = factor_of(n, matrix, 0);
  CHECK(lower[0] == Approx(std::sqrt(1 + jitter)).epsilon(1e-6));
  CHECK(lower[n * n - 1] == Approx(std::sqrt(jitter - 3e-5)).epsilon(1e-5));
  // A pivot of exactly 0 is not enough either, in the last column of a tile too: ones in the last four places make it
  // 2e-9 with the first jitter that helps.
  constexpr int64_t m = 64;
  std::vector<float> singular(m * m);
  for (int64_t i = 0; i < m; ++i) singular[i * m + i] = 1;
  singular[m * m - 2] = singular[m * m - 1 - m] = 1;
  CHECK(factor_of(m, singular, 0)[m * m - 1] == Approx(std::sqrt(2e-9)).epsilon(1e-4));
  CHECK(factor_of(2, {0, 0, 0, 0}, 1e-6) == std::vector<float>(4));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& wrong : {std::vector<float>{1, 2, 2, 1}, {-1, 0, 0, -1}, {nan, 0, 0, 1}})
    for (const float value : factor_of(2, wrong, 0)) CHECK(std::isnan(value));
}
