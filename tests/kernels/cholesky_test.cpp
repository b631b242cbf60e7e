#include <noisysgd/kernels/cholesky.h>

#include <limits>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

// X^T X of `rows` random rows: of full rank if rows >= n.
std::vector<float> covariance(int64_t n, int64_t rows) {
  const auto x = random_tensor(rows * n, static_cast<uint32_t>(n), 0.5f);
  std::vector<float> a(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r) sum += double{x[r * n + i]} * x[r * n + j];
      a[i * n + j] = static_cast<float>(sum);
    }
  return a;
}

std::vector<float> product_with_transpose(const std::vector<float>& lower, int64_t n) {
  std::vector<float> a(lower.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) sum += double{lower[i * n + k]} * lower[j * n + k];
      a[i * n + j] = static_cast<float>(sum);
    }
  return a;
}

}  // namespace

TEST_CASE("a Cholesky factor is lower triangular and its product is the scaled matrix with its jitter") {
  const int64_t n = GENERATE(1, 2, 31, 33, 130);
  const double jitter = GENERATE(0.0, 1e-3);
  Queue queue;
  const std::vector<float> a = covariance(n, 2 * n);
  std::vector<double> expected = to_double(a);
  double trace = 0;
  for (double& value : expected) value *= 0.25;
  for (int64_t i = 0; i < n; ++i) trace += expected[i * n + i];
  for (int64_t i = 0; i < n; ++i) expected[i * n + i] += jitter * trace / static_cast<double>(n);
  std::vector<float> lower = nan_tensor(n * n);
  cholesky(queue, n, 0.25f, jitter, a.data(), lower.data());
  CHECK(compare(product_with_transpose(lower, n), expected, {.terms = static_cast<double>(n)}) == "");
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) CHECK(lower[i * n + j] == 0);
  std::vector<float> in_place = a;
  cholesky(queue, n, 0.25f, jitter, in_place.data(), in_place.data());
  CHECK(in_place == lower);
}

TEST_CASE("a matrix without full rank is factored too, a zero matrix gives zeros") {
  Queue queue;
  const int64_t n = 40;
  const std::vector<float> a = covariance(n, 5);
  std::vector<float> lower = nan_tensor(n * n);
  cholesky(queue, n, 1, 0, a.data(), lower.data());
  const std::vector<float> product = product_with_transpose(lower, n);
  for (size_t i = 0; i < a.size(); ++i) CHECK(product[i] == Approx(a[i]).margin(1e-3));
  const std::vector<float> zero(static_cast<size_t>(n * n));
  cholesky(queue, n, 1, 0, zero.data(), lower.data());
  CHECK(lower == zero);
}

TEST_CASE("a matrix that is not a covariance is an error") {
  Queue queue;
  std::vector<float> lower(4);
  const std::vector<float> indefinite{1, 2, 2, 1}, negative{-1, 0, 0, -1},
      not_finite{std::numeric_limits<float>::quiet_NaN(), 0, 0, 1};
  for (const auto& a : {indefinite, negative, not_finite})
    CHECK_THROWS_AS(cholesky(queue, 2, 1, 0, a.data(), lower.data()), Error);
}
