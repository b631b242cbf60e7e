// Derivatives in one direction of the parameters, carried forward beside the values. A value y stands in a pair with
// its tangent ydot = d/dt y at parameters theta + t v, and both are nodes of one tape: the scalar S = sum_n dl_n/dz .
// zdot, (grad l) . v, then has the gradient H v with respect to the parameters, and one ordinary backward pass adds it
// up (layers/curvature_product.h). A value's node is that of the layer's own forward pass. Of a tangent's node
//   y = W x + b,  ydot = W xdot + V x + v_b
// backward gives xdot the gradient W^T ydotbar, x the gradient V^T ydotbar, and W the gradient ydotbar xdot^T.
// Layers are in inference: no dropout, running statistics.
#pragma once

#include <noisysgd/core/block.h>
#include <noisysgd/kernels/conv.h>
#include <noisysgd/layers/layer.h>

namespace noisysgd {

struct Dual {
  Variable value;
  Variable tangent = {};  // without a tensor: zero, as of images

  bool moves() const { return tangent.value.defined(); }
};

struct DualForward {
  Forward values;
  Forward tangents;  // without a tape: no gradient is wanted through tangents
  const Block& direction;
};

// A layer y = W x + b as tangents see it; x and y have one sample for each of shape.batch.
struct WeightedLayer {
  kernels::ConvShape shape;  // as of WeightGradient
  Shape output;              // [M, …]
  const Parameter& weight;
  const Parameter* bias;  // or null
  const KroneckerShape& factors;
  // y = weight x + bias, bias [K] or null; grad_x = weight^T grad_y. Both overwrite. Called in the passes: they may
  // refer to the layer alone.
  std::function<void(kernels::Queue&, const kernels::ConvShape&, const float* weight, const float* bias, const float* x,
                     float* y)>
      product;
  std::function<void(kernels::Queue&, const kernels::ConvShape&, const float* weight, const float* grad_y,
                     float* grad_x)>
      transposed;
};

Variable tangent_of(const DualForward& pass, const Dual& x, WeightedLayer layer);

// x + y, over x's memory where nothing else holds it.
Variable sum_of(const Forward& pass, Variable x, Variable y);

}  // namespace noisysgd
