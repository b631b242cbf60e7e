// (Ghost) batch normalisation over [M,T,C] activations, T positions per sample: y = gamma xhat + beta, xhat = (x -
// mean) inverse_std, with mean and biased variance over each ghost group of `group` consecutive samples (group = M:
// ordinary batch norm). M must be a multiple of group. Variances are two-pass (shifted), so a large mean costs no
// accuracy.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

struct BatchNormShape {
  int64_t samples, positions, channels, group;
  int64_t groups() const { return samples / group; }
};

void check(const BatchNormShape& shape);  // throws Error for samples that do not divide into groups

// What the sweep that writes y does with it on the way: max(0, gamma xhat + beta + addend).
struct BatchNormEpilogue {
  const float* addend = nullptr;  // [M,T,C] or null; may be y
  bool relu = false;
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
NSGD_OP(batch_norm_forward, void(Queue& queue, const BatchNormShape& shape, const BatchNormForward& arrays,
                                 const float* x, float* y));  // y is not x: backward needs x

// With the running statistics. y may be x.
struct BatchNormInference {
  int64_t rows, channels;
  float epsilon;
  const float *gamma, *beta, *running_mean, *running_variance;  // [C]
  BatchNormEpilogue epilogue{};
};
NSGD_OP(batch_norm_inference, void(Queue& queue, const BatchNormInference& arrays, const float* x, float* y));

// The backward pass of y = max(0, gamma xhat + beta + addend), or of the same without ReLU or addend.
struct BatchNormBackward {
  const float *x, *gamma, *mean, *inverse_std;  // as forward read and saved them
  const float* grad_y;
  const float* other_grad_y = nullptr;  // added to grad_y; null: nothing
  // How the sign of what the ReLU reads is known, at most one of them. Both null: there is no ReLU.
  const float* relu_beta = nullptr;    // beta: gamma xhat + beta is computed again, where there was no addend
  const float* relu_output = nullptr;  // y
  // += . Second moments: sum_n (sum_t grad xhat)^2 and sum_n (sum_t grad)^2. Each null: not wanted.
  float *grad_gamma = nullptr, *grad_beta = nullptr, *gamma_second_moment = nullptr, *beta_second_moment = nullptr;
  // The gradient of what the ReLU reads, which is that of the addend. Overwritten; may be grad_y or other_grad_y. Null:
  // not wanted, which other_grad_y and relu_output rule out.
  float* grad_addend = nullptr;
  float* grad_x;  // overwritten; may be any of the other gradients
};
NSGD_OP(batch_norm_backward, void(Queue& queue, const BatchNormShape& shape, const BatchNormBackward& arrays));
void check(const BatchNormBackward& arrays);

// y = gamma xhat + beta once more from the saved statistics; null: 1 and 0.
NSGD_OP(batch_norm_normalised, void(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma,
                                    const float* beta, const float* mean, const float* inverse_std, float* y));
// The gradients of single samples: sums[n,c] = sum_t grad_y, products[n,c] = sum_t grad_y xhat.
NSGD_OP(batch_norm_sample_gradients,
        void(Queue& queue, const BatchNormShape& shape, const float* x, const float* mean, const float* inverse_std,
             const float* grad_y, float* sums, float* products));  // [M,C], overwritten

}  // namespace noisysgd::kernels
