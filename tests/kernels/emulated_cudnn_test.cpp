// The number of cuDNN's executions, which only its emulation counts.
#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/cuda/cudnn_conv.h>
#include <noisysgd/kernels/cuda/state.h>
#include <noisysgd/kernels/emulation/cudnn.h>
#include <noisysgd/kernels/emulation/device_memory.h>
#include <noisysgd/kernels/emulation/emulated_device.h>
#include <noisysgd/kernels/scratch.h>
#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/kernels/mirrored.h"
#include "tests/kernels/stored_array.h"
#include "tests/temporary_folder.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

using Floats = Mirrored<float>;

TEST_CASE("plans are timed once, kept on disk, and never timed within a capture") {
  const TemporaryFolder cache;
  const Variable on("NSGD_CUDNN", "on"), folder("NSGD_CACHE", cache.path().string());
  const ConvShape s{2, 4, 4, 4, 4, 3, 3, 1, 1, 1, 1};
  Floats x(random_tensor(128, 1)), w(random_tensor(s.weights(), 2)), y(nan_tensor(128));
  const auto executions = [&](Queue& queue) {
    const int64_t before = emulation::cudnn_use().executions;
    conv_forward(queue, s, x.on(queue), w.on(queue), nullptr, y.on(queue));
    queue.synchronize();
    return emulation::cudnn_use().executions - before;
  };
  Queue first({Backend::cuda});
  first.set_precision(Precision::tf32);
  CHECK(executions(first) == 4 * 4 + 1);  // engines 67, 1, 28 and 0: once, three times timed; then the best
  const int64_t chosen = emulation::cudnn_use().last_engine;
  CHECK(executions(first) == 1);
  Queue second({Backend::cuda});
  second.set_precision(Precision::tf32);
  CHECK(executions(second) == 1);
  CHECK(emulation::cudnn_use().last_engine == chosen);

  // Problems first met in a capture: cuDNN's first choice if operands may be rounded, otherwise not cuDNN.
  Scratch(second).take<std::byte>(int64_t{1} << 16);
  const auto executions_in_capture = [&](Precision precision) {
    second.set_precision(precision);
    cudaGraph_t graph = nullptr;
    NSGD_CUDA_CHECK(cudaStreamBeginCapture(second.cuda().stream(), cudaStreamCaptureModeThreadLocal));
    const int64_t before = emulation::cudnn_use().executions;
    conv_backward_data(second, s, w.on(second), y.on(second), x.on(second));
    NSGD_CUDA_CHECK(cudaStreamEndCapture(second.cuda().stream(), &graph));
    NSGD_CUDA_CHECK(cudaGraphDestroy(graph));
    return emulation::cudnn_use().executions - before;
  };
  CHECK(executions_in_capture(Precision::tf32) == 1);
  CHECK(emulation::cudnn_use().last_engine == 67);
  CHECK(executions_in_capture(Precision::fp32) == 0);
  second.set_precision(Precision::fp32);
  CHECK(executions(second) == 3 * 2 + 2 * 4 + 1);  // engines 1, 28 and 0 are probed, and 1 is excluded
  CHECK(emulation::cudnn_use().last_engine != 1);

  // Unaligned rows are computed by this repository's kernels.
  const int64_t unaligned = emulation::cudnn_use().executions;
  Floats larger(random_tensor(129, 3));
  conv_forward(second, s, larger.on(second) + 1, w.on(second), nullptr, y.on(second));
  second.synchronize();
  CHECK(emulation::cudnn_use().executions == unaligned);
}

namespace {

// A weight gradient of a narrow layer, with the number of cuDNN's executions.
struct WeightGradient {
  explicit WeightGradient(const ConvShape& shape = {2, 16, 16, 16, 16, 3, 3, 1, 1, 1, 1})
      : s(shape),
        x(random_tensor(s.batch * s.height * s.width * s.in_channels, 4)),
        grad_y(random_tensor(s.batch * s.positions() * s.out_channels, 5)) {}

  std::vector<float> sum(Queue& queue) {
    return result(queue, [&](float* sum) { conv_backward_weight(queue, s, x.on(queue), grad_y.on(queue), sum); });
  }
  std::vector<float> by_own_kernel(Queue& queue) {
    return result(queue,
                  [&](float* sum) { conv_backward_weight_direct(queue, s, x.on(queue), grad_y.on(queue), sum); });
  }
  std::vector<float> by_cudnn(Queue& queue) {
    return result(
        queue, [&](float* sum) { REQUIRE(conv_backward_weight_cudnn(queue, s, x.on(queue), grad_y.on(queue), sum)); });
  }

  ConvShape s;
  Floats x, grad_y;
  int64_t executions = 0;  // of the last call

 private:
  template <class Call>
  std::vector<float> result(Queue& queue, const Call& call) {
    Floats sums(random_tensor(s.weights(), 6));
    const int64_t before = emulation::cudnn_use().executions;
    call(sums.on(queue));
    queue.synchronize();
    executions = emulation::cudnn_use().executions - before;
    return sums.on_cuda();
  }
};

// A device on which cuDNN is faster. A weight gradient is one launch of this repository's kernel, and by cuDNN also
// one, which adds the result.
constexpr emulation::EmulatedDevice cudnn_is_fast{.kernel_seconds = 100, .cudnn_seconds = -50};

struct CudnnQueue {
  explicit CudnnQueue(const TemporaryFolder& cache, Precision precision = Precision::tf32)
      : on("NSGD_CUDNN", "on"), folder("NSGD_CACHE", cache.path().string()), queue({Backend::cuda}) {
    queue.set_precision(precision);
  }
  Variable on, folder;
  Queue queue;
};

}  // namespace

TEST_CASE("a weight gradient is computed by cuDNN or by this repository's kernel, whichever was faster") {
  const Precision precision = GENERATE(Precision::fp32, Precision::tf32, Precision::half);
  const int plans = precision == Precision::fp32 ? 2 : 4, probes = precision == Precision::fp32 ? 3 * 2 : 0;
  const TemporaryFolder own_is_faster, cudnn_is_faster;
  WeightGradient gradient;
  {
    const emulation::DifferentDevice device({.cudnn_seconds = 100});
    CudnnQueue first(own_is_faster, precision);
    const std::vector<float> expected = gradient.by_own_kernel(first.queue);
    CHECK(gradient.sum(first.queue) == expected);  // timing adds nothing
    CHECK(gradient.executions == probes + 4 * plans);
    CHECK(gradient.sum(first.queue) == expected);
    CHECK(gradient.executions == 0);
    // If cuDNN is requested, it computes the gradient all the same, by a choice of its own.
    CHECK(relative_error(gradient.by_cudnn(first.queue), to_double(expected)) < 1e-2);
    CHECK(gradient.executions == probes + 4 * plans + 1);
  }
  std::vector<float> by_cudnn;
  {
    const emulation::DifferentDevice device(cudnn_is_fast);
    CudnnQueue first(cudnn_is_faster, precision);
    by_cudnn = gradient.sum(first.queue);
    CHECK(gradient.executions == probes + 4 * plans + 1);
    CHECK(gradient.sum(first.queue) == by_cudnn);
    CHECK(gradient.executions == 1);
    CHECK(relative_error(by_cudnn, to_double(gradient.by_own_kernel(first.queue))) < 1e-2);
  }
  // Later runs follow the stored choice, whatever would be faster now.
  {
    const emulation::DifferentDevice device(cudnn_is_fast);
    CudnnQueue second(own_is_faster, precision);
    CHECK(gradient.sum(second.queue) == gradient.by_own_kernel(second.queue));
    CHECK(gradient.sum(second.queue) == gradient.by_own_kernel(second.queue));
    gradient.sum(second.queue);
    CHECK(gradient.executions == 0);
  }
  const emulation::DifferentDevice device({.cudnn_seconds = 100});
  CudnnQueue second(cudnn_is_faster, precision);
  CHECK(gradient.sum(second.queue) == by_cudnn);
  CHECK(gradient.executions == 1);
}

TEST_CASE("a weight gradient of 16-bit values is computed by cuDNN from copies in fp32, if that is faster") {
  const TemporaryFolder slow, fast;
  const auto check = [](const TemporaryFolder& cache, const emulation::EmulatedDevice& described, const ConvShape& s,
                        int64_t first_executions, int64_t later_executions) {
    const emulation::DifferentDevice device(described);
    CudnnQueue holder(cache, Precision::half);
    Queue& queue = holder.queue;
    StoredArray x(DType::f16, random_tensor(s.batch * s.height * s.width * s.in_channels, 4)),
        grad_y(DType::bf16, random_tensor(s.batch * s.positions() * s.out_channels, 5));
    Floats own(random_tensor(s.weights(), 6));
    conv_sample_sums(queue, s, x.on(queue), grad_y.on(queue), {}, own.on(queue));
    for (const int64_t expected : {first_executions, later_executions}) {
      Floats sums(random_tensor(s.weights(), 6));
      const int64_t before = emulation::cudnn_use().executions;
      conv_backward_weight(queue, s, x.on(queue), grad_y.on(queue), sums.on(queue));
      queue.synchronize();
      CHECK(emulation::cudnn_use().executions - before == expected);
      CHECK(relative_error(sums.on_cuda(), to_double(own.on_cuda())) < 1e-3);
      CHECK((sums.on_cuda() == own.on_cuda()) == (later_executions == 0));
    }
  };
  const ConvShape even{2, 6, 7, 16, 24, 3, 3, 1, 1, 1, 1}, odd{3, 6, 7, 3, 24, 3, 3, 1, 1, 1, 1};
  // By cuDNN a gradient is two launches that widen and one that adds the result; by the own kernel it is one launch. x
  // of an odd number of channels is widened for both.
  check(slow, {.kernel_seconds = 100, .cudnn_seconds = -150}, even, 16, 0);
  check(fast, {.kernel_seconds = 100, .cudnn_seconds = -250}, even, 17, 1);
  check(slow, {.kernel_seconds = 100, .cudnn_seconds = -50}, odd, 16, 0);
  check(fast, {.kernel_seconds = 100, .cudnn_seconds = -150}, odd, 17, 1);
  // The window kernel of 16-bit arrays has no rival.
  check(fast, {.kernel_seconds = 100, .cudnn_seconds = -250}, {2, 32, 32, 16, 16, 3, 3, 1, 1, 1, 1}, 0, 0);
}

TEST_CASE("a weight gradient first met in a capture is computed by this repository's kernel, and timed later") {
  const TemporaryFolder cache;
  CudnnQueue holder(cache);
  Queue& queue = holder.queue;
  const emulation::DifferentDevice device(cudnn_is_fast);
  WeightGradient gradient, other({2, 8, 8, 8, 8, 3, 3, 1, 1, 1, 1});
  (void)other.sum(queue);  // makes cuDNN's handle
  Scratch(queue).take<std::byte>(int64_t{1} << 20);
  Floats sums(random_tensor(gradient.s.weights(), 6));
  const int64_t before = emulation::cudnn_use().executions;
  cudaGraph_t graph = nullptr;
  NSGD_CUDA_CHECK(cudaStreamBeginCapture(queue.cuda().stream(), cudaStreamCaptureModeThreadLocal));
  conv_backward_weight(queue, gradient.s, gradient.x.on(queue), gradient.grad_y.on(queue), sums.on(queue));
  NSGD_CUDA_CHECK(cudaStreamEndCapture(queue.cuda().stream(), &graph));
  NSGD_CUDA_CHECK(cudaGraphDestroy(graph));
  CHECK(emulation::cudnn_use().executions == before);
  (void)gradient.sum(queue);
  CHECK(gradient.executions == 4 * 4 + 1);
}

TEST_CASE("without memory for timing plans a weight gradient is computed by this repository's kernel") {
  const TemporaryFolder cache;
  WeightGradient gradient({40, 16, 16, 16, 16, 3, 3, 1, 1, 1, 1});
  CudnnQueue holder(cache);
  (void)WeightGradient({2, 8, 8, 8, 8, 3, 3, 1, 1, 1, 1}).sum(holder.queue);  // makes cuDNN's handle
  const std::vector<float> expected = gradient.by_own_kernel(holder.queue);
  {
    // Enough for the kernel's partial sums, which the workspace holds already, and for the code of nothing.
    const emulation::DifferentDevice full(
        {.memory_bytes = emulation::device_bytes_held() + (size_t{1} << 16), .launch_bytes = 0, .kernel_seconds = 100});
    CHECK(gradient.sum(holder.queue) == expected);
    CHECK(gradient.executions == 0);
  }
}
