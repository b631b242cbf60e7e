#include <noisysgd/kernels/random.h>

#include <algorithm>
#include <numbers>

#include <noisysgd/kernels/simd/ops.h>
#include "tests/compare.h"
#include "tests/kernels/simd_fixture.h"
#include "tests/random_tensor.h"
#include "tests/reference/normal_reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

const RandomStream stream{0x0123456789ABCDEF, 17, 3, RandomPurpose::test};

std::vector<float> normals(const simd::SimdKernels& kernels, int threads, int64_t n, float mean = 0,
                           float deviation = 1) {
  Queue queue({}, threads);
  Guarded x(nan_tensor(n));
  simd::random_normal(queue, kernels, n, mean, deviation, stream, x.data());
  CHECK(x.intact());
  return x.values();
}

std::vector<float> uniforms(const simd::SimdKernels& kernels, int threads, int64_t n, float low, float high) {
  Queue queue({}, threads);
  Guarded x(nan_tensor(n));
  simd::random_uniform(queue, kernels, n, low, high, stream, x.data());
  CHECK(x.intact());
  return x.values();
}

// sup |empirical - true distribution function| sqrt(n)
template <class Distribution>
double kolmogorov_smirnov(std::vector<float> values, Distribution distribution) {
  std::sort(values.begin(), values.end());
  const double n = static_cast<double>(values.size());
  double distance = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double f = distribution(values[i]), below = static_cast<double>(i) / n;
    distance = std::max({distance, f - below, below + 1 / n - f});
  }
  return distance * std::sqrt(n);
}

}  // namespace

TEST_CASE("normals are the Box-Muller transform of their words, to 4 units in the last place of the radius") {
  for (simd::Isa isa : supported_isas()) {
    const int64_t n = 200001;
    const std::vector<float> x = normals(simd::simd_kernels(isa), 1, n);
    double worst = 0;
    for (int64_t i = 0; i < n; ++i) {
      const NormalReference reference = normal_reference(stream, static_cast<uint64_t>(i));
      REQUIRE(std::isfinite(x[i]));
      const double unit = reference.radius * std::numeric_limits<float>::epsilon() / 2;
      worst = std::max(worst, std::fabs(x[i] - reference.value) / unit);
    }
    INFO(simd::simd_kernels(isa).name << ": " << worst);
    CHECK(worst <= 4);
  }
}

TEST_CASE("random tensors have the same bits on every instruction set and thread count") {
  for (int64_t n : {0, 1, 2, 3, 31, 32, 33, 1025, 40000}) {
    const std::vector<float> normal = normals(simd::simd_kernels(simd::Isa::portable), 1, n, 3, 0.5f);
    const std::vector<float> uniform = uniforms(simd::simd_kernels(simd::Isa::portable), 1, n, -1, 2);
    for (simd::Isa isa : supported_isas())
      for (int threads : {1, 2, 3}) {
        CHECK(normals(simd::simd_kernels(isa), threads, n, 3, 0.5f) == normal);
        CHECK(uniforms(simd::simd_kernels(isa), threads, n, -1, 2) == uniform);
      }
  }
}

TEST_CASE("a shorter tensor is the beginning of a longer one") {
  const std::vector<float> longer = normals(simd::simd_kernels(), 2, 1025);
  for (int64_t n : {1, 2, 31, 33, 1000})
    CHECK(normals(simd::simd_kernels(), 2, n) == std::vector<float>(longer.begin(), longer.begin() + n));
}

TEST_CASE("mean and deviation shift and scale normals") {
  const std::vector<float> standard = normals(simd::simd_kernels(), 1, 1025);
  std::vector<double> expected;
  for (float z : standard) expected.push_back(3 + 0.25 * z);
  CHECK(compare(normals(simd::simd_kernels(), 1, 1025, 3, 0.25f), expected) == "");
}

TEST_CASE("uniforms are those of their words, inside the interval") {
  const std::vector<float> x = uniforms(simd::simd_kernels(), 1, 4099, 0, 1);
  for (size_t i = 0; i < x.size(); ++i) REQUIRE(x[i] == uniform_from_word(random_word(stream, i)));
  std::vector<double> expected;
  for (size_t i = 0; i < x.size(); ++i) expected.push_back(-3 + 8 * static_cast<double>(x[i]));
  CHECK(compare(uniforms(simd::simd_kernels(), 1, 4099, -3, 5), expected) == "");
}

TEST_CASE("normals have the moments and the distribution of the normal law") {
  const int64_t n = 1 << 20;
  const std::vector<float> x = normals(simd::simd_kernels(), 2, n);
  double moments[5] = {}, neighbours = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double z = x[i];
    for (int power = 1; power <= 4; ++power) moments[power] += std::pow(z, power) / n;
    if (i > 0) neighbours += z * x[i - 1] / n;
  }
  const double error = 5 / std::sqrt(static_cast<double>(n));  // five standard errors of a unit-variance mean
  CHECK(std::fabs(moments[1]) < error);
  CHECK(std::fabs(moments[2] - 1) < error * std::sqrt(2.0));
  CHECK(std::fabs(moments[3]) < error * std::sqrt(15.0));
  CHECK(std::fabs(moments[4] - 3) < error * std::sqrt(96.0));
  CHECK(std::fabs(neighbours) < error);
  CHECK(kolmogorov_smirnov(x, [](double z) { return std::erfc(-z / std::numbers::sqrt2) / 2; }) < 2.0);
  const float largest =
      std::abs(*std::max_element(x.begin(), x.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
  CHECK(largest > 4.2f);  // P(none of 2^20 beyond) < 1e-12
  CHECK(largest < 6.8f);
}

TEST_CASE("uniforms have the uniform distribution") {
  const std::vector<float> x = uniforms(simd::simd_kernels(), 2, 1 << 18, 0, 1);
  CHECK(kolmogorov_smirnov(x, [](double u) { return u; }) < 2.0);
}

TEST_CASE("the public random tensors run on the chosen instruction set") {
  Queue queue({}, 2);
  std::vector<float> x = nan_tensor(1025);
  random_normal(queue, 1025, 1, 2, stream, x.data());
  CHECK(x == normals(simd::simd_kernels(), 1, 1025, 1, 2));
  random_uniform(queue, 1025, 1, 2, stream, x.data());
  CHECK(x == uniforms(simd::simd_kernels(), 1, 1025, 1, 2));
}
