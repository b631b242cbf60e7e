// Tests whether a plan multiplies fp32 operands as fp32. cuDNN marks plans that use tensor cores, but not reliably: a
// plan without that note gave a weight gradient accurate to 3e-4, as tf32 does. So each plan is tested: operands
// a = +-1 and a' = (1 + 2^-12) a give results y and y' = (1 + 2^-12)^2 y up to the rounding of sums, but y' = y if a'
// is rounded to tf32 or less.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include <noisysgd/kernels/cuda/cudnn_graph.h>
#include <noisysgd/kernels/queue.h>

namespace noisysgd::kernels::cudnn {

class Probe {
 public:
  // Allocates operands of the problem's sizes; has_memory() returns whether there was enough memory.
  Probe(Queue& queue, Operation operation, const ConvShape& shape);
  bool has_memory() const;
  // Runs the plan twice and waits for it.
  bool is_fp32(const Convolution& convolution, const Plan& plan) const;

 private:
  std::vector<float> result(const Convolution& convolution, const Plan& plan, float scale) const;

  Queue& queue_;
  size_t result_;                                 // among x, w, y
  std::array<int64_t, 3> sizes_;                  // of x, w, y
  std::array<std::shared_ptr<void>, 3> tensors_;  // x, w, y
};

}  // namespace noisysgd::kernels::cudnn
