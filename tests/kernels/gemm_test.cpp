#include <noisysgd/kernels/gemm.h>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/gradcheck.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

Transpose transpose(bool yes) { return yes ? Transpose::yes : Transpose::no; }

// C over NaN with beta = 0, and alpha A B + beta C over random C.
void check_gemm(Queue& queue, bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k) {
  CAPTURE(transpose_a, transpose_b, m, n, k);
  const std::vector<float> a = random_tensor(m * k, 1), b = random_tensor(k * n, 2), c = random_tensor(m * n, 3);
  const std::vector<double> product = reference::product(transpose_a, transpose_b, m, n, k, to_double(a), to_double(b));
  const Tolerance tolerance{.terms = static_cast<double>(k)};
  if (k > 0) {
    std::vector<float> overwritten = nan_tensor(m * n);
    gemm(queue, transpose(transpose_a), transpose(transpose_b), m, n, k, 1.0f, a.data(), b.data(), 0.0f,
         overwritten.data());
    CHECK(compare(overwritten, product, tolerance) == "");
  }
  std::vector<float> accumulated = c;
  gemm(queue, transpose(transpose_a), transpose(transpose_b), m, n, k, -0.5f, a.data(), b.data(), 3.0f,
       accumulated.data());
  std::vector<double> expected(c.size());
  for (size_t i = 0; i < c.size(); ++i) expected[i] = -0.5 * product[i] + 3.0 * c[i];
  CHECK(compare(accumulated, expected, tolerance) == "");
}

}  // namespace

TEST_CASE("gemm equals the sum of products, all transposes and sizes") {
  Queue queue({}, 2);
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true}) {
      for (const int64_t m : {0, 1, 31, 33})
        for (const int64_t n : {0, 1, 32, 33})
          for (const int64_t k : {0, 1, 31, 32}) check_gemm(queue, transpose_a, transpose_b, m, n, k);
      check_gemm(queue, transpose_a, transpose_b, 1025, 3, 31);
      check_gemm(queue, transpose_a, transpose_b, 3, 1025, 32);
      check_gemm(queue, transpose_a, transpose_b, 33, 31, 1025);
    }
}

TEST_CASE("an empty product is zero") {
  Queue queue({}, 1);
  std::vector<float> c = nan_tensor(6);
  gemm(queue, Transpose::no, Transpose::no, 2, 3, 0, 1.0f, nullptr, nullptr, 0.0f, c.data());
  CHECK(c == std::vector<float>(6, 0.0f));
}

TEST_CASE("gemm refuses sizes beyond the library's integers") {
  Queue queue({}, 1);
  float value = 0;
  CHECK_THROWS_AS(gemm(queue, Transpose::no, Transpose::no, -1, 1, 1, 1.0f, &value, &value, 0.0f, &value), Error);
  CHECK_THROWS_AS(gemm(queue, Transpose::no, Transpose::no, 1, 1, int64_t{1} << 31, 1.0f, &value, &value, 0.0f, &value),
                  Error);
}

TEST_CASE("the three products of a linear layer are its output and its gradients") {
  Queue queue({}, 2);
  const int64_t samples = 5, inputs = 7, outputs = 4;
  const std::vector<float> x = random_tensor(samples * inputs, 1), w = random_tensor(outputs * inputs, 2),
                           cotangent = random_tensor(samples * outputs, 3);
  const auto forward = [&](const std::vector<double>& input, const std::vector<double>& weight) {
    return dot(reference::product(false, true, samples, outputs, inputs, input, weight), to_double(cotangent));
  };
  std::vector<float> grad_x = nan_tensor(samples * inputs), grad_w = nan_tensor(outputs * inputs);
  gemm(queue, Transpose::no, Transpose::no, samples, inputs, outputs, 1.0f, cotangent.data(), w.data(), 0.0f,
       grad_x.data());
  gemm(queue, Transpose::yes, Transpose::no, outputs, inputs, samples, 1.0f, cotangent.data(), x.data(), 0.0f,
       grad_w.data());
  CHECK(compare(grad_x,
                central_differences([&](const auto& input) { return forward(input, to_double(w)); }, to_double(x)),
                {.terms = static_cast<double>(outputs)}) == "");
  CHECK(compare(grad_w,
                central_differences([&](const auto& weight) { return forward(to_double(x), weight); }, to_double(w)),
                {.terms = static_cast<double>(samples)}) == "");
}

TEST_CASE("linear second moment is the sum of squared per-sample gradients, accumulated") {
  Queue queue({}, 2);
  struct Shape {
    int64_t samples, outputs, inputs;
  };
  // The last one needs several blocks of samples.
  for (const Shape s : {Shape{0, 3, 4}, {1, 1, 1}, {31, 32, 33}, {33, 1, 31}, {1025, 10, 5}, {1025, 3, 1500}}) {
    CAPTURE(s.samples, s.outputs, s.inputs);
    const std::vector<float> x = random_tensor(s.samples * s.inputs, 1),
                             grad_y = random_tensor(s.samples * s.outputs, 2, 0, 1e-4f),
                             before = random_tensor(s.outputs * s.inputs, 3, 0, 1e-8f);
    std::vector<double> expected =
        reference::linear_second_moment(s.samples, s.outputs, s.inputs, to_double(x), to_double(grad_y));
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
    std::vector<float> moment = before;
    linear_second_moment(queue, s.samples, s.outputs, s.inputs, x.data(), grad_y.data(), moment.data());
    CHECK(compare(moment, expected, {.terms = static_cast<double>(s.samples)}) == "");
  }
}
