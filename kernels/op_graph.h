// Records ops of a queue once and issues them again as a whole: on a CUDA device, a graph.
#pragma once

#include <functional>
#include <memory>

#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels {

class OpGraph {
 public:
  static bool supported(const Queue& queue) { return queue.device().backend == Backend::cuda; }

  // Runs `issue` and records its ops without executing them. They must neither make the host wait nor read pageable
  // host memory. All memory that they use must keep its address as long as the graph is launched.
  OpGraph(Queue& queue, const std::function<void()>& issue);
  ~OpGraph();
  OpGraph(const OpGraph&) = delete;
  OpGraph& operator=(const OpGraph&) = delete;

  // Throws OutOfMemory, having done nothing, if the device has too little memory for the graph.
  void launch();

 private:
  struct Recorded;
  std::unique_ptr<Recorded> recorded_;
};

}  // namespace noisysgd::kernels
