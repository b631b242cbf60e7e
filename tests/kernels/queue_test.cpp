#include <noisysgd/kernels/queue.h>

#include <omp.h>

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/gemm.h>
#include "tests/catch.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::kernels;

TEST_CASE("threads: the requested number, all cores for 0, an error below 0") {
  CHECK(Queue({}, 3).threads() == 3);
  CHECK(Queue().threads() == omp_get_num_procs());
  CHECK_THROWS_AS(Queue({}, -1), Error);
}

TEST_CASE("a device that this build or machine does not have is named") {
  CHECK_THROWS_WITH(Queue({Backend::cuda, 99}, 1), Catch::Matchers::Contains("cuda:99"));
}

TEST_CASE("a queue on the CPU stays at fp32") {
  Queue queue({}, 1);
  CHECK(queue.precision() == Precision::fp32);
  queue.set_precision(Precision::half);
  CHECK(queue.precision() == Precision::fp32);
}

TEST_CASE("libraries use the queue's threads, and the caller's setting is restored") {
  omp_set_num_threads(2);
  Queue queue({}, 3);
  const std::vector<float> a = test::random_tensor(9, 1);
  std::vector<float> c(9);
  gemm(queue, Transpose::no, Transpose::no, 3, 3, 3, 1.0f, a.data(), a.data(), 0.0f, c.data());
  CHECK(omp_get_max_threads() == 2);
  conv_forward(queue, ConvShape{1, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0}, a.data(), a.data(), nullptr, c.data());
  CHECK(omp_get_max_threads() == 2);
}
