#include "kernels/queue.h"

#include <omp.h>

#include <cstring>

#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "tests/catch.h"
#include "tests/random_tensor.h"

using namespace noisysgd;
using namespace noisysgd::kernels;

TEST_CASE("workspace is aligned, grows to the largest request and stays") {
  Queue queue({}, 1);
  CHECK(queue.workspace_bytes() == 0);
  void* first = queue.workspace(1000);
  REQUIRE(first != nullptr);
  std::memset(first, 1, 1000);
  CHECK(reinterpret_cast<uintptr_t>(first) % 64 == 0);
  CHECK(queue.workspace(10) == first);
  CHECK(queue.workspace_bytes() >= 1000);
  void* larger = queue.workspace(100001);
  std::memset(larger, 1, 100001);
  CHECK(reinterpret_cast<uintptr_t>(larger) % 64 == 0);
  CHECK(queue.workspace(100001) == larger);
  CHECK(queue.workspace_bytes() >= 100001);
}

TEST_CASE("threads: as many as asked for, all cores for 0, an error below") {
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
  queue.set_precision(Precision::bf16);
  CHECK(queue.precision() == Precision::fp32);
}

TEST_CASE("libraries borrow the queue's threads and give the caller's setting back") {
  omp_set_num_threads(2);
  Queue queue({}, 3);
  const std::vector<float> a = test::random_tensor(9, 1);
  std::vector<float> c(9);
  gemm(queue, Transpose::no, Transpose::no, 3, 3, 3, 1.0f, a.data(), a.data(), 0.0f, c.data());
  CHECK(omp_get_max_threads() == 2);
  conv_forward(queue, ConvShape{1, 3, 3, 1, 1, 1, 1, 1, 1, 0, 0}, a.data(), a.data(), nullptr, c.data());
  CHECK(omp_get_max_threads() == 2);
}
