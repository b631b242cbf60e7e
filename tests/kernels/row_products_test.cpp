#include <noisysgd/kernels/row_products.h>

#include <cmath>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/gradcheck.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

TEST_CASE("the curvature of softmax cross-entropy is the derivative of its gradient along the tangent") {
  Queue queue({}, 2);
  for (const int64_t samples : {0, 1, 31, 1025})
    for (const int64_t classes : {2, 10, 33, 100})
      for (const float offset : {0.0f, 100.0f}) {
        CAPTURE(samples, classes, offset);
        const std::vector<float> logits = random_tensor(samples * classes, 1, offset, 3.0f),
                                 tangent = random_tensor(samples * classes, 2, offset);
        std::vector<float> product = nan_tensor(samples * classes);
        softmax_curvature(queue, samples, classes, logits.data(), tangent.data(), product.data());
        const double step = 1e-5;
        const auto moved = [&](double by) {
          std::vector<double> z = to_double(logits);
          for (size_t i = 0; i < z.size(); ++i) z[i] += by * tangent[i];
          return reference::softmax(samples, classes, z);
        };
        std::vector<double> expected = moved(step);
        const std::vector<double> below = moved(-step);
        for (size_t i = 0; i < expected.size(); ++i) expected[i] = (expected[i] - below[i]) / (2 * step);
        // exp in fp32 of fp32 differences
        CHECK(compare(product, expected, {.terms = static_cast<double>(classes), .condition = 2}) == "");
      }
}

TEST_CASE("the curvature keeps its digits where one class is almost certain; huge logits do not overflow") {
  Queue queue({}, 1);
  const std::vector<float> logits = {30, 0, -1, /**/ 1e4f, -1e4f, 0, /**/ 2, 2, 2},
                           tangent = {1000, 1001, 998, /**/ 1, 2, 3, /**/ 1, 1, 4};
  std::vector<float> product = nan_tensor(9);
  softmax_curvature(queue, 3, 3, logits.data(), tangent.data(), product.data());
  const double b = std::exp(-30.0), c = std::exp(-31.0);
  // p_b (t_b - t_a) and p_c (t_c - t_a) to first order in p_b and p_c
  CHECK(product[0] == Approx(-(b - 2 * c)).epsilon(1e-6));
  CHECK(product[1] == Approx(b).epsilon(1e-6));
  CHECK(product[2] == Approx(-2 * c).epsilon(1e-6));
  for (int i = 3; i < 6; ++i) CHECK(product[i] == 0);
  CHECK(product[6] == Approx(-1.0 / 3));
  CHECK(product[8] == Approx(2.0 / 3));
}

TEST_CASE("a row's outer product with itself times the tangent, in place too") {
  Queue queue({}, 2);
  for (const int64_t samples : {0, 1, 33, 1025})
    for (const int64_t classes : {1, 10, 33}) {
      CAPTURE(samples, classes);
      const std::vector<float> gradient = random_tensor(samples * classes, 1),
                               tangent = random_tensor(samples * classes, 2);
      std::vector<float> product = nan_tensor(samples * classes), over_tangent = tangent, over_gradient = gradient;
      outer_product(queue, samples, classes, gradient.data(), tangent.data(), product.data());
      outer_product(queue, samples, classes, gradient.data(), over_tangent.data(), over_tangent.data());
      outer_product(queue, samples, classes, over_gradient.data(), tangent.data(), over_gradient.data());
      std::vector<double> expected;
      for (int64_t i = 0; i < samples * classes; ++i) {
        double sum = 0;
        for (int64_t k = i / classes * classes; k < (i / classes + 1) * classes; ++k)
          sum += double{gradient[k]} * tangent[k];
        expected.push_back(gradient[i] * sum);
      }
      CHECK(compare(product, expected) == "");
      CHECK(over_tangent == product);
      CHECK(over_gradient == product);
    }
}
