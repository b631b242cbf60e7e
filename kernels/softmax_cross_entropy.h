// Softmax cross-entropy with label smoothing and per-sample weights: loss, accuracy and gradient in one pass over the
// logits. l_n = -sum_k q_nk log p_nk, q = (1-smoothing) onehot(label) + smoothing/K. The gradient is that of
// sum_n w_n l_n, w_n (p - q), without a division by the batch size: gradients are sums over samples, and the optimizer
// divides once.
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
  // 1 + the number of samples before the first part (add_to) whose loss is not finite; 0: all are finite.
  int64_t nonfinite = 0;
  // 1 + the number of samples before the first one with an invalid label; 0: all are valid. The CPU throws Error
  // instead.
  int64_t bad_label = 0;
};

// Throws Error if there was an invalid label.
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

// Draws labels from the model's predictive distribution (Fisher matrix of kind "true"), with one uniform per sample at
// index offset+n of the stream.
NSGD_OP(sample_labels, void(Queue& queue, int64_t samples, int64_t classes, const float* logits,
                            const RandomStream& stream, uint64_t offset, int32_t* labels));

}  // namespace noisysgd::kernels
