// Convolutions of one queue by cuDNN. For every problem the fastest plan is used among those that the precision allows
// and that, under fp32, pass a probe (kernels/cuda/cudnn_probe.h). A kernel of this repository may compete with them.
// Plans are timed when the problem first occurs, and the choice is kept on disk for later runs
// (kernels/cuda/plan_cache.h).
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include <noisysgd/kernels/cuda/cudnn_graph.h>
#include <noisysgd/kernels/cuda/plan_cache.h>
#include <noisysgd/kernels/values.h>

namespace noisysgd::kernels::cudnn {

class Convolutions {
 public:
  Convolutions(Queue& queue, int device_index, cudaStream_t stream);
  ~Convolutions();
  Convolutions(const Convolutions&) = delete;
  Convolutions& operator=(const Convolutions&) = delete;

  // A kernel of this repository for the same problem and operands, which computes into `result` as convolve does.
  using OwnKernel = std::function<void(float* result)>;

  // Computes one of x [N,H,W,C], w [K,R,S,C] and y [N,Ho,Wo,K] from the other two. Results y and x are overwritten; a
  // result w is accumulated. Returns false, having done nothing, if cuDNN has no plan for the problem, or if `own` was
  // at least as fast as each. While a graph is captured nothing is timed or probed: a new problem gets the plan that
  // cuDNN prefers; under fp32, or with `own`, none. With `own` too little memory for the timing also means false.
  // x and y have one element type: fp32, or one of 16 bits, to which w is then rounded. For a result w each is of any
  // of these types; those of 16 bits are widened, which counts as a part of the time.
  bool convolve(Queue& queue, Operation operation, const ConvShape& shape, ConstValues x, const float* w, ConstValues y,
                const OwnKernel& own = {});

 private:
  struct Route;
  using Key = std::tuple<Operation, DType, Precision, ConvShape, bool>;  // whether an own kernel competes
  struct Operands {
    Operation operation;
    ConvShape shape;
    std::array<ConstValues, 3> xwy;
    DType type() const { return xwy[2].type; }  // of y, and of x unless w is the result
    DType plan_type() const { return operation == Operation::backward_filter ? DType::f32 : type(); }
  };

  std::vector<Route> routes(Queue& queue, const Operands& operands) const;
  struct Choice {
    std::unique_ptr<Route> route;  // null: not by cuDNN
    bool is_final = true;          // false: try again at the next call
  };
  Choice choose(Queue& queue, const Operands& operands, const OwnKernel& own) const;
  // The fastest route, or null if `own` is; runs all of them on the operands, except that a weight gradient is added to
  // scratch memory.
  const Route* fastest(Queue& queue, const std::vector<Route>& routes, Operands operands, const OwnKernel& own) const;
  void run(Queue& queue, const Route& route, const Operands& operands) const;

  Handle handle_;
  size_t most_workspace_;
  std::optional<cuda::PlanCache> cache_;
  std::map<Key, std::unique_ptr<Route>> chosen_;  // null: not by cuDNN
};

}  // namespace noisysgd::kernels::cudnn
