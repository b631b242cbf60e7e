// Products of rows on the CUDA device against those on the CPU.
#include <noisysgd/kernels/row_products.h>

#include <array>

#include "tests/catch.h"
#include "tests/kernels/mirrored.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

TEST_CASE("products of rows agree on both devices, in place too") {
  BothQueues both;
  for (const auto& [samples, classes] :
       {std::array<int64_t, 2>{0, 3}, {1, 1}, {3, 2}, {33, 10}, {9, 31}, {8, 33}, {7, 100}, {1025, 5}}) {
    CAPTURE(samples, classes);
    const int64_t n = samples * classes;
    // At the last scale exponentials overflow unless logits are compared with the largest.
    for (const float scale : {2.0f, classes < 100 ? 60.0f : 300.0f}) {
      Floats logits(random_tensor(n, 1, 0, scale)), tangent(random_tensor(n, 2, 50)), curvature(nan_tensor(n)),
          product(nan_tensor(n)), gradient(random_tensor(n, 3)), in_place(random_tensor(n, 2, 50));
      both.run([&](Queue& q) {
        softmax_curvature(q, samples, classes, logits.on(q), tangent.on(q), curvature.on(q));
        outer_product(q, samples, classes, gradient.on(q), tangent.on(q), product.on(q));
        outer_product(q, samples, classes, gradient.on(q), in_place.on(q), in_place.on(q));
      });
      if (classes > 1) CHECK(curvature.difference({.terms = static_cast<double>(classes), .condition = 4}) == "");
      CHECK(product.difference() == "");
      CHECK(in_place.on_cuda() == product.on_cuda());
    }
  }
}

TEST_CASE("of equal logits the first is what others are compared with on both devices") {
  BothQueues both;
  for (const int64_t classes : {3, 33, 70}) {
    CAPTURE(classes);
    Floats logits(std::vector<float>(static_cast<size_t>(classes), 1.0f)), tangent(random_tensor(classes, 2)),
        curvature(nan_tensor(classes));
    both.run([&](Queue& q) { softmax_curvature(q, 1, classes, logits.on(q), tangent.on(q), curvature.on(q)); });
    CHECK(curvature.difference({.terms = static_cast<double>(classes)}) == "");
    float sum = 0;
    for (const float value : curvature.on_cuda()) sum += value;
    CHECK(std::abs(sum) < 1e-6f);
  }
}
