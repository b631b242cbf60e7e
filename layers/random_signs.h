// The random signs of Statistics::signs for layers with a weight [outputs, inputs] and a bias. `layer` is the index of
// the layer's first parameter: layers have independent signs, and the weight and bias of a layer share signs.
#pragma once

#include <noisysgd/core/autograd.h>

namespace noisysgd {

// The signs [M,K] that all positions of a sample share; undefined unless SignedSums::of_samples().
Tensor sample_signs(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t channels);
// sum [K] += sum over samples of gradients [M,K]. If SignedSums::of_samples(), the gradients are first multiplied by
// these signs in place; otherwise they already contain the signs.
void add_signed_samples(const BackwardPass& pass, uint32_t layer, const Tensor& gradients, float* sum);

// grad_y [M,T,K] times the requested signs, or for SignGrain::element the signs alone; undefined if none are requested.
Tensor signed_gradient(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t positions, int64_t channels,
                       const Tensor& grad_y);

}  // namespace noisysgd
