// The ops of a queue recorded once and issued again as a whole: on a CUDA device, a graph.
#pragma once

#include <functional>
#include <memory>

#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels {

class OpGraph {
 public:
  static bool supported(const Queue& queue) { return queue.device().backend == Backend::cuda; }

  // Runs `issue`, whose ops are recorded and not executed. They must not make the host wait, nor read its pageable
  // memory; whatever memory they use has to stay where it is for as long as the graph is launched.
  OpGraph(Queue& queue, const std::function<void()>& issue);
  ~OpGraph();
  OpGraph(const OpGraph&) = delete;
  OpGraph& operator=(const OpGraph&) = delete;

  // OutOfMemory, with nothing done, if the device has no room for the graph.
  void launch();

 private:
  struct Recorded;
  std::unique_ptr<Recorded> recorded_;
};

}  // namespace noisysgd::kernels
