// (Ghost) batch normalisation over [M,T,C] activations, T positions per sample: y = gamma xhat + beta, xhat = (x -
// mean) inverse_std, with mean and biased variance over each ghost group of `group` consecutive samples (group = M:
// ordinary batch norm). M must be a multiple of group. Variances are two-pass (shifted), so a large mean costs no
// accuracy.
#pragma once

#include <cstdint>

#include "kernels/dispatch.h"

namespace noisysgd::kernels {

struct BatchNormShape {
  int64_t samples, positions, channels, group;
  int64_t groups() const { return samples / group; }
};

void check(const BatchNormShape& shape);  // throws Error for samples that do not divide into groups

// What the sweep that writes y does with it on the way: max(0, gamma xhat + beta + addend).
struct BatchNormTail {
  const float* addend = nullptr;  // [M,T,C] or null; may be y
  bool relu = false;
};

// Running statistics are updated group by group: running = (1-momentum) running + momentum * statistic, with the
// unbiased variance.
NSGD_OP(batch_norm_forward, void(Queue& queue, const BatchNormShape& shape, float epsilon, float momentum,
                                 const float* x, const float* gamma, const float* beta, const BatchNormTail& tail,
                                 float* running_mean, float* running_variance,
                                 float* mean,         // [groups,C] saved for backward
                                 float* inverse_std,  // [groups,C] saved for backward
                                 float* y));          // not x: backward needs x
NSGD_OP(batch_norm_inference, void(Queue& queue, int64_t rows, int64_t channels, float epsilon, const float* x,
                                   const float* gamma, const float* beta, const float* running_mean,
                                   const float* running_variance, const BatchNormTail& tail, float* y));  // y may be x
// grad_gamma, grad_beta += ; second moments += sum_n (sum_t grad_y xhat)^2 and += sum_n (sum_t grad_y)^2. Each of the four
// may be null: not wanted. relu_beta, beta or null: y went through a ReLU, so grad_y counts where gamma xhat + beta > 0, which is
// computed again and not kept.
NSGD_OP(batch_norm_backward,
        void(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma, const float* relu_beta,
             const float* mean, const float* inverse_std, const float* grad_y, float* grad_gamma, float* grad_beta,
             float* gamma_second_moment, float* beta_second_moment,
             float* grad_x));  // overwritten; may be grad_y
// y = gamma xhat + beta once more from the saved statistics; null: 1 and 0.
NSGD_OP(batch_norm_normalised, void(Queue& queue, const BatchNormShape& shape, const float* x, const float* gamma,
                                    const float* beta, const float* mean, const float* inverse_std, float* y));
// The gradients of single samples: sums[n,c] = sum_t grad_y, products[n,c] = sum_t grad_y xhat.
NSGD_OP(batch_norm_sample_gradients,
        void(Queue& queue, const BatchNormShape& shape, const float* x, const float* mean, const float* inverse_std,
             const float* grad_y, float* sums, float* products));  // [M,C], overwritten

}  // namespace noisysgd::kernels
