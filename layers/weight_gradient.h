// Gradients and statistics of parameters, computed in backward. For the weight and bias of a linear layer or a
// convolution: the gradient and every statistic that the pass collects, in as few passes over x and grad_y as the kernels
// allow. For a batch normalisation, whose backward kernels add gradient and second moment: the other statistics. A layer
// only describes its tensors and shapes; the code here reads from the pass what to collect (Step::recipe decides it).
#pragma once

#include <noisysgd/core/autograd.h>
#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/conv.h>

namespace noisysgd {

struct Normalisation;  // layers/normalisation.h

struct WeightGradient {
  kernels::ConvShape shape;  // with the batch; a linear layer is a convolution of 1x1 images
  Variable x;                // [M,H,W,C], which may be deferred
  Tensor grad_y;             // [M,Ho,Wo,K]
  const Parameter& weight;   // [K,R,S,C]
  const Parameter* bias;     // [K], or null
  const KroneckerShape& factors;
  const Normalisation* normalisation = nullptr;  // of the layer's output, where a batch normalisation alone reads it
  Tensor relu_output = {};                       // of the ReLU that is the layer's epilogue; undefined: none
};

// Returns the gradient of what the ReLU reads, over grad_y where nothing else holds it; without a ReLU grad_y.
Tensor collect(const BackwardPass& pass, WeightGradient gradient);

struct NormalisationGradient {
  const kernels::BatchNormShape& shape;
  const Tensor &x, &mean, &inverse_std;  // [M,T,C], [groups,C], [groups,C]
  const Tensor& grad_y;                  // [M,T,C]
  const Parameter &gamma, &beta;         // [C]
};

// Whether the pass asks for anything but the sums that the sweeps of a batch normalisation give.
bool collects_samples(const BackwardPass& pass);
void collect(const BackwardPass& pass, const NormalisationGradient& gradient);

}  // namespace noisysgd
