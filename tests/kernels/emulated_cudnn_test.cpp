// How often cuDNN runs, which only its emulation tells.
#include "kernels/conv.h"
#include "kernels/cuda/cudnn_conv.h"
#include "kernels/cuda/state.h"
#include "tests/catch.h"
#include "tests/emulation/cudnn.h"
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
  CHECK(executions(first) == 3 * 4 + 1);  // engines 67, 28 and 0: once, three times timed; then the best
  const int64_t chosen = emulation::cudnn_use().last_engine;
  CHECK(executions(first) == 1);
  Queue second({Backend::cuda});
  second.set_precision(Precision::tf32);
  CHECK(executions(second) == 1);
  CHECK(emulation::cudnn_use().last_engine == chosen);

  second.set_precision(Precision::fp32);  // another problem, met in a capture first
  (void)second.workspace(size_t{1} << 16);
  cudaGraph_t graph = nullptr;
  NSGD_CUDA_CHECK(cudaStreamBeginCapture(second.cuda().stream(), cudaStreamCaptureModeThreadLocal));
  const int64_t before = emulation::cudnn_use().executions;
  conv_forward(second, s, x.on(second), w.on(second), nullptr, y.on(second));
  CHECK(emulation::cudnn_use().executions - before == 1);
  CHECK(emulation::cudnn_use().last_engine == 28);  // cuDNN's first without tensor cores
  NSGD_CUDA_CHECK(cudaStreamEndCapture(second.cuda().stream(), &graph));
  NSGD_CUDA_CHECK(cudaGraphDestroy(graph));

  // Rows that begin anywhere are left to the own kernels.
  const int64_t unaligned = emulation::cudnn_use().executions;
  Floats larger(random_tensor(129, 3));
  conv_forward(second, s, larger.on(second) + 1, w.on(second), nullptr, y.on(second));
  second.synchronize();
  CHECK(emulation::cudnn_use().executions == unaligned);
}
