#include <noisysgd/kernels/softmax_cross_entropy.h>

#include <algorithm>
#include <cmath>

#include <noisysgd/kernels/loss_rows.h>
#include <noisysgd/kernels/parallel.h>

namespace noisysgd::kernels {

void check(const LossSums& sums) {
  NSGD_CHECK(sums.bad_label == 0, "softmax cross-entropy: sample {} has a label that is not one of the classes",
             sums.bad_label - 1);
}

namespace cpu {
namespace {

// One row: the loss and, if grad is not null, grad = softmax(z) - q. For a row that is almost certain, neither
// subtracts nearly equal numbers: with e_k = exp(z_k - max), log sum_k e_k is computed as log1p of the sum over all k
// but the maximum (where e = 1), and p_label - 1 as minus the sum of the other probabilities.
double row_loss(const LossRow& row, float smoothing) {
  const auto& [z, classes, label, argmax, grad] = row;
  const float maximum = z[argmax], label_shifted = z[label] - maximum;
  double tail = 0, shifted_sum = 0;  // of e_k over k != argmax, of z_k - max over all k
  for (int64_t k = 0; k < classes; ++k) {
    const float shifted = z[k] - maximum, e = std::exp(shifted);
    shifted_sum += shifted;
    if (k != argmax) tail += e;
    if (grad) grad[k] = e;  // grad may be z: read before, not needed after
  }
  // -sum_k q_k log p_k with log p_k = z_k - max - log1p(tail) and sum_k q_k = 1
  const double share = smoothing / static_cast<double>(classes);
  double loss = std::log1p(tail) - (1.0 - smoothing) * label_shifted;
  if (smoothing != 0) loss -= share * shifted_sum;  // not 0 * shifted_sum: a logit of -inf is a valid p = 0
  if (grad) {
    const double sum = 1.0 + tail, others = label == argmax ? tail : sum - grad[label];
    for (int64_t k = 0; k < classes; ++k) grad[k] = static_cast<float>(grad[k] / sum - share);
    grad[label] = static_cast<float>(smoothing - share - others / sum);
  }
  return loss;
}

}  // namespace

void softmax_cross_entropy(Queue& queue, const LabelledRows& rows, float label_smoothing, const float* logits,
                           float* grad_logits, float* sample_losses, LossSums* sums) {
  loss_rows(queue, "softmax cross-entropy", rows.samples, rows.classes, logits, rows.labels, rows.weights, grad_logits,
            sample_losses, sums, [=](const LossRow& row) { return row_loss(row, label_smoothing); });
}

void sample_labels(Queue& queue, int64_t samples, int64_t classes, const float* logits, const RandomStream& stream,
                   uint64_t offset, int32_t* labels) {
  NSGD_CHECK(samples == 0 || classes > 0, "sample_labels: {} classes, expected at least 1", classes);
  parallel_ranges(queue, samples, std::max<int64_t>(1, 4096 / classes), [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const float* z = logits + n * classes;
      const float shift = *std::max_element(z, z + classes);
      double sum = 0;
      for (int64_t k = 0; k < classes; ++k) sum += std::exp(double{z[k]} - shift);
      // The first class whose cumulative probability exceeds u.
      const double threshold = uniform_from_word(random_word(stream, offset + static_cast<uint64_t>(n))) * sum;
      double cumulative = 0;
      int64_t label = 0, last_possible = 0;
      for (; label < classes; ++label) {
        const double mass = std::exp(double{z[label]} - shift);
        cumulative += mass;
        if (mass > 0) last_possible = label;
        if (cumulative > threshold) break;
      }
      labels[n] = static_cast<int32_t>(label < classes ? label : last_possible);
    }
  });
}

}  // namespace cpu

}  // namespace noisysgd::kernels
