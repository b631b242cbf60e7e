// Whether a plan multiplies fp32 as fp32. cuDNN marks plans that use tensor cores, but not reliably: one whose notes
// name none gave a weight gradient to 3e-4, as tf32 does. So a plan is asked: operands a = +-1 and a' = (1 + 2^-12)
// a give results y and y' = (1 + 2^-12)^2 y up to the rounding of sums, but y' = y where a' is rounded to tf32 or less.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include <noisysgd/kernels/cuda/cudnn_graph.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels::cudnn {

class Probe {
 public:
  // Takes memory for operands of the problem's sizes; has_memory() says whether there was enough.
  Probe(Queue& queue, Handle handle, Operation operation, const ConvShape& shape);
  bool has_memory() const;
  // Runs the plan twice and waits for it.
  bool is_fp32(const Convolution& convolution, const Plan& plan) const;

 private:
  std::vector<float> result(const Convolution& convolution, const Plan& plan, float scale) const;

  Queue& queue_;
  Handle handle_;
  size_t result_;                                 // among x, w, y
  std::array<int64_t, 3> sizes_;                  // of x, w, y
  std::array<std::shared_ptr<void>, 3> tensors_;  // x, w, y
};

}  // namespace noisysgd::kernels::cudnn
