// Softmax cross-entropy with label smoothing and per-sample weights: loss, accuracy and gradient in one pass over the
// logits. l_n = -sum_k q_nk log p_nk, q = (1-smoothing) onehot(label) + smoothing/K. The gradient is that of sum_n w_n
// l_n (p - q, not divided by the batch): gradients stay sums over samples until the optimizer divides once.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels {

struct LossSums {
  double loss = 0;           // sum_n l_n, unweighted
  double weighted_loss = 0;  // sum_n w_n l_n
  int64_t correct = 0;       // rows whose first maximum is the label
  int64_t samples = 0;
  // 1 + the number of samples before the first part whose loss is not finite; 0: all are.
  int64_t nonfinite = 0;
  // 1 + the number of samples before the first whose label is no class; 0: all are. The CPU throws Error instead.
  int64_t bad_label = 0;
};

// Throws Error for a label that was no class.
void check(const LossSums& sums);

constexpr void add_to(LossSums& sums, const LossSums& part) {
  if (sums.nonfinite == 0 && !(part.loss - part.loss == 0)) sums.nonfinite = 1 + sums.samples;
  if (sums.bad_label == 0 && part.bad_label != 0) sums.bad_label = part.bad_label + sums.samples;
  sums.loss += part.loss;
  sums.weighted_loss += part.weighted_loss;
  sums.correct += part.correct;
  sums.samples += part.samples;
}

struct LabelledRows {
  int64_t samples, classes;
  const int32_t* labels;           // [M]
  const float* weights = nullptr;  // [M] or null: all 1
};
NSGD_OP(softmax_cross_entropy, void(Queue& queue, const LabelledRows& rows, float label_smoothing, const float* logits,
                                    float* grad_logits,    // [M,K] overwritten; may be logits; null: loss only
                                    float* sample_losses,  // [M] or null
                                    LossSums* sums));      // on the queue's device: accumulated, or null

// Labels drawn from the model's prediction (kind "true" of the Fisher matrix), by one uniform per sample at index
// offset+n.
NSGD_OP(sample_labels, void(Queue& queue, int64_t samples, int64_t classes, const float* logits,
                            const RandomStream& stream, uint64_t offset, int32_t* labels));

}  // namespace noisysgd::kernels
