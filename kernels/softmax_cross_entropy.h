// Softmax cross-entropy with label smoothing and per-sample weights: loss, accuracy and gradient in one pass over the
// logits. l_n = -sum_k q_nk log p_nk, q = (1-smoothing) onehot(label) + smoothing/K. The gradient is that of sum_n w_n
// l_n (p - q, not divided by the batch): gradients stay sums over samples until the optimizer divides once.
#pragma once

#include <cstdint>

#include "kernels/dispatch.h"
#include "kernels/philox.h"

namespace noisysgd::kernels {

struct LossSums {
  double loss = 0;           // sum_n l_n, unweighted
  double weighted_loss = 0;  // sum_n w_n l_n
  int64_t correct = 0;       // rows whose first maximum is the label
};

NSGD_OP(softmax_cross_entropy,
        void(Queue& queue, int64_t samples, int64_t classes, const float* logits, const int32_t* labels,
             const float* sample_weights,  // [M] or null: all 1
             float label_smoothing,
             float* grad_logits,    // [M,K] overwritten; may be logits; null: loss only
             float* sample_losses,  // [M] or null
             LossSums* sums));      // accumulated

// Labels drawn from the model's prediction (kind "true" of the Fisher matrix), by one uniform per sample at index
// offset+n.
NSGD_OP(sample_labels, void(Queue& queue, int64_t samples, int64_t classes, const float* logits,
                            const RandomStream& stream, uint64_t offset, int32_t* labels));

}  // namespace noisysgd::kernels
