// What layers with a weight [outputs, inputs] and a bias add to their statistics beside gradient and second moment.
#pragma once

#include "core/autograd.h"
#include "core/parameter.h"
#include "kernels/conv.h"

namespace noisysgd {

// The signs [M,K] that samples share over their positions; undefined if those that were asked for are not of this kind.
Tensor sample_signs(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t channels);
// noise_sum [K] += the gradients [M,K] of the samples with those signs, which `gradients` is left with; signs of
// another kind are in the gradients already.
void add_signed_samples(const BackwardPass& pass, uint32_t layer, const Tensor& gradients, const Tensor& noise_sum);

// grad_y [M,T,K] with the random signs that were asked for; undefined if none were. `layer` is the index of the layer's
// first parameter: layers have independent signs.
Tensor signed_gradient(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t positions, int64_t channels,
                       const Tensor& grad_y);

// Adds sum a a^T and sum delta delta^T, as far as they were asked for. A linear layer is a convolution of 1x1 images.
void add_kronecker_sums(const BackwardPass& pass, const KroneckerFactors& factors, const kernels::ConvShape& shape,
                        const Tensor& x, const Tensor& grad_y);

}  // namespace noisysgd
