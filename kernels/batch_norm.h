// (Ghost) batch normalisation over [M,T,C] activations, T positions per sample: y = gamma xhat + beta, xhat = (x -
// mean) inverse_std, with mean and biased variance over each ghost group of `group` consecutive samples (group = M:
// ordinary batch norm). M must be a multiple of group. Variances are two-pass (shifted), so a large mean costs no
// accuracy. On a CUDA device x, y and the addend of a training pass may be stored in fp16, and all gradients in bf16.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

struct BatchNormShape {
  int64_t samples, positions, channels, group;
  int64_t groups() const { return samples / group; }
};

void check(const BatchNormShape& shape);  // throws Error for samples that do not divide into groups

// Applied in the pass that writes y: y = max(0, gamma xhat + beta + addend).
struct BatchNormEpilogue {
  ConstValues addend = nullptr;  // [M,T,C] or null; may be y
  bool relu = false;             // false: without the maximum
};

struct BatchNormForward {
  float epsilon;
  const float *gamma, *beta;  // [C]
  // Running statistics are updated group by group: running = (1-momentum) running + momentum * statistic, with the
  // unbiased variance.
  float momentum;
  float *running_mean, *running_variance;  // [C]
  float *mean, *inverse_std;               // [groups,C] saved for backward
  BatchNormEpilogue epilogue{};
};
NSGD_TYPED_OP(batch_norm_forward, void(Queue& queue, const BatchNormShape& shape, const BatchNormForward& arrays,
                                       ConstValues x, Values y));  // y is not x: backward needs x

// Normalises with the running statistics. y may be x.
struct BatchNormInference {
  int64_t rows, channels;
  float epsilon;
  const float *gamma, *beta, *running_mean, *running_variance;  // [C]
  BatchNormEpilogue epilogue{};
};
NSGD_OP(batch_norm_inference, void(Queue& queue, const BatchNormInference& arrays, const float* x, float* y));

// Of each ghost group and channel, [groups,C]: grad_x = grad_addend grad + x x + term (batch_norm_parts.h).
struct BatchNormFactors {
  float *grad = nullptr, *x = nullptr, *term = nullptr;
};

// The backward pass of y = max(0, gamma xhat + beta + addend), or of the same without ReLU or addend.
struct BatchNormBackward {
  ConstValues x;                            // of the forward pass
  const float *gamma, *mean, *inverse_std;  // gamma of the forward pass, and the statistics that it saved
  ConstValues grad_y;
  ConstValues other_grad_y = nullptr;  // added to grad_y; null: nothing
  // The source of the sign of the ReLU's input; at most one of the two. Both null: there is no ReLU.
  const float* relu_beta = nullptr;   // beta, without an addend: gamma xhat + beta is recomputed
  ConstValues relu_output = nullptr;  // y
  // Accumulated (+=); each may be null. Second moments: sum_n (sum_t grad xhat)^2 and sum_n (sum_t grad)^2.
  float *grad_gamma = nullptr, *grad_beta = nullptr, *gamma_second_moment = nullptr, *beta_second_moment = nullptr;
  // The gradient of the ReLU's input, which is also the gradient of the addend. Overwritten; may be grad_y or
  // other_grad_y. May be null, but not together with other_grad_y or relu_output.
  Values grad_addend = nullptr;
  Values grad_x;  // overwritten; may be any of the other gradients; null with `factors`
  // Not null: overwritten, and grad_x is left to the caller. A ReLU then needs grad_addend.
  BatchNormFactors factors{};
};
NSGD_OP(batch_norm_backward, void(Queue& queue, const BatchNormShape& shape, const BatchNormBackward& arrays));
void check(const BatchNormBackward& arrays);

// Computes y = max(0, gamma xhat + beta + addend) from saved statistics, as the forward pass does.
struct BatchNormNormalised {
  const float *mean, *inverse_std;                // [groups,C]
  const float *gamma = nullptr, *beta = nullptr;  // [C]; null: 1 and 0
  BatchNormEpilogue epilogue{};
};
NSGD_TYPED_OP(batch_norm_normalised, void(Queue& queue, const BatchNormShape& shape, const BatchNormNormalised& arrays,
                                          ConstValues x, Values y));  // y may be x
// Per-sample gradients: sums[n,c] = sum_t grad_y, products[n,c] = sum_t grad_y xhat.
NSGD_OP(batch_norm_sample_gradients,
        void(Queue& queue, const BatchNormShape& shape, const float* x, const float* mean, const float* inverse_std,
             const float* grad_y, float* sums, float* products));  // [M,C], overwritten

}  // namespace noisysgd::kernels
