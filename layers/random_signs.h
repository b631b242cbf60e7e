// The random signs of Statistics::signs, as layers with a weight [outputs, inputs] and a bias apply them. `layer` is the
// index of the layer's first parameter: layers have independent signs, and the weight and the bias of one share theirs.
#pragma once

#include <noisysgd/core/autograd.h>

namespace noisysgd {

// The signs [M,K] that samples share over their positions; undefined if those that were asked for are not of this kind.
Tensor sample_signs(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t channels);
// sum [K] += the gradients [M,K] of the samples with those signs, which `gradients` is left with; signs of another kind
// are in the gradients already.
void add_signed_samples(const BackwardPass& pass, uint32_t layer, const Tensor& gradients, float* sum);

// grad_y [M,T,K] with the random signs that were asked for; undefined if none were.
Tensor signed_gradient(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t positions, int64_t channels,
                       const Tensor& grad_y);

}  // namespace noisysgd
