// The number of cuDNN's executions, which only its emulation counts.
#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/cuda/cudnn_conv.h>
#include <noisysgd/kernels/cuda/state.h>
#include <noisysgd/kernels/emulation/cudnn.h>
#include <noisysgd/kernels/scratch.h>
#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/kernels/mirrored.h"
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

  // cuDNN computes, if requested, a weight gradient that this repository's kernels can compute too.
  second.set_precision(Precision::tf32);
  const ConvShape narrow{2, 16, 16, 16, 16, 3, 3, 1, 1, 1, 1};
  Floats images(random_tensor(8192, 4)), gradients(random_tensor(8192, 5)), own(random_tensor(narrow.weights(), 6)),
      library(random_tensor(narrow.weights(), 6));
  const int64_t before = emulation::cudnn_use().executions;
  conv_backward_weight(second, narrow, images.on(second), gradients.on(second), own.on(second));
  CHECK(emulation::cudnn_use().executions == before);
  REQUIRE(conv_backward_weight_cudnn(second, narrow, images.on(second), gradients.on(second), library.on(second)));
  CHECK(emulation::cudnn_use().executions > before);
  second.synchronize();
  CHECK(relative_error(library.on_cuda(), to_double(own.on_cuda())) < 1e-3);

  // Unaligned rows are computed by this repository's kernels.
  const int64_t unaligned = emulation::cudnn_use().executions;
  Floats larger(random_tensor(129, 3));
  conv_forward(second, s, larger.on(second) + 1, w.on(second), nullptr, y.on(second));
  second.synchronize();
  CHECK(emulation::cudnn_use().executions == unaligned);
}
