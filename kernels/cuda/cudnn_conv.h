// Convolutions of one queue by cuDNN. For every problem the fastest plan is used among those that the precision allows
// and that, under fp32, pass a probe (kernels/cuda/cudnn_probe.h). Plans are timed when the problem first occurs, and
// the choice is kept on disk for later runs (kernels/cuda/plan_cache.h).
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include <noisysgd/kernels/cuda/cudnn_graph.h>
#include <noisysgd/kernels/cuda/plan_cache.h>

namespace noisysgd::kernels::cudnn {

std::string version_text(const Api& api);  // "cuDNN 9.19.0"

class Convolutions {
 public:
  Convolutions(Queue& queue, const Api& api, int device_index, cudaStream_t stream);
  ~Convolutions();
  Convolutions(const Convolutions&) = delete;
  Convolutions& operator=(const Convolutions&) = delete;

  // Computes one of x [N,H,W,C], w [K,R,S,C] and y [N,Ho,Wo,K] from the other two. Results y and x are overwritten; a
  // result w is accumulated. Returns false, having done nothing, if cuDNN has no plan for the problem. While a graph is
  // captured nothing is timed or probed: a new problem gets the plan that cuDNN prefers, and under fp32 none.
  bool convolve(Queue& queue, Operation operation, const ConvShape& shape, const float* x, const float* w,
                const float* y);

 private:
  struct Route;
  using Key = std::tuple<Operation, Precision, ConvShape>;
  struct Operands {
    Operation operation;
    ConvShape shape;
    std::array<const float*, 3> xwy;
  };

  std::vector<Route> routes(Queue& queue, Operation operation, const ConvShape& shape) const;
  struct Choice {
    std::unique_ptr<Route> route;  // null: no plan
    bool is_final = true;          // false: try again at the next call
  };
  Choice choose(Queue& queue, const Operands& operands) const;
  double seconds(Queue& queue, const Route& route, const Operands& operands) const;
  // add: adds to the weight gradient; if false, the computed sum is discarded (for timing).
  void run(Queue& queue, const Route& route, const Operands& operands, bool add) const;

  const Api& api_;
  Handle handle_ = nullptr;
  size_t most_workspace_;
  std::optional<cuda::PlanCache> cache_;
  std::map<Key, std::unique_ptr<Route>> chosen_;  // null: no plan
};

}  // namespace noisysgd::kernels::cudnn
