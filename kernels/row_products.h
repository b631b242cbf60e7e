// Products of the rows of a tangent [M,K] with a symmetric matrix for each sample: what a loss makes of the tangent of
// the logits.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/dispatch.h>

namespace noisysgd::kernels {

// The Hessian of softmax cross-entropy, diag(p) - p p^T with p = softmax(logits_n): product_n = p (t_n - p . t_n). It
// depends on neither label nor smoothing. A row that is almost certain loses no digits.
NSGD_OP(softmax_curvature, void(Queue& queue, int64_t samples, int64_t classes, const float* logits,
                                const float* tangent, float* product));  // [M,K], overwritten
// product_n = g_n (g_n . t_n). May be tangent or gradient.
NSGD_OP(outer_product, void(Queue& queue, int64_t samples, int64_t classes, const float* gradient, const float* tangent,
                            float* product));  // [M,K], overwritten

}  // namespace noisysgd::kernels
