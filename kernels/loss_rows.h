// Evaluates a loss on the CPU, given its formula for one row of logits: runs the samples in parallel and applies the
// weights, the sums and the accuracy.
#pragma once

#include <functional>

#include <noisysgd/kernels/softmax_cross_entropy.h>

namespace noisysgd::kernels::cpu {

struct LossRow {
  const float* logits = nullptr;  // [K]
  int64_t classes = 0;
  int32_t label = 0;
  int64_t argmax = 0;         // the first maximum
  float* gradient = nullptr;  // [K] overwritten by dl/dz; may be logits; null: the loss only
};

// Calls l_n = loss(row) for every sample, from several threads, and multiplies the gradients by the weights. `loss`
// must not throw. Pointers as in softmax_cross_entropy; error messages begin with `name`.
void loss_rows(Queue& queue, const char* name, int64_t samples, int64_t classes, const float* logits,
               const int32_t* labels, const float* sample_weights, float* grad_logits, float* sample_losses,
               LossSums* sums, const std::function<double(const LossRow&)>& loss);

}  // namespace noisysgd::kernels::cpu
