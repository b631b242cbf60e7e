#include <noisysgd/kernels/op_graph.h>

#include <noisysgd/kernels/cuda/state.h>

namespace noisysgd::kernels {

struct OpGraph::Recorded {
  explicit Recorded(Queue& queue) : queue(queue) {}
  ~Recorded() {
    if (executable) cudaGraphExecDestroy(executable);
    if (graph) cudaGraphDestroy(graph);
  }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

  Queue& queue;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
};

OpGraph::OpGraph(Queue& queue, const std::function<void()>& issue) : recorded_(std::make_unique<Recorded>(queue)) {
  const cudaStream_t stream = queue.cuda().stream();
  NSGD_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  try {
    issue();
  } catch (...) {
    cudaStreamEndCapture(stream, &recorded_->graph);
    cudaGetLastError();
    throw;
  }
  NSGD_CUDA_CHECK(cudaStreamEndCapture(stream, &recorded_->graph));
}

OpGraph::~OpGraph() = default;

void OpGraph::launch() {
  Recorded& r = *recorded_;
  if (!r.executable)
    NSGD_CUDA_CHECK(r.queue.with_reserve(cudaErrorMemoryAllocation,
                                         [&] { return taken(cudaGraphInstantiate(&r.executable, r.graph, 0)); }));
  NSGD_CUDA_CHECK(r.queue.with_reserve(cudaErrorMemoryAllocation,
                                       [&] { return taken(cudaGraphLaunch(r.executable, r.queue.cuda().stream())); }));
}

}  // namespace noisysgd::kernels
