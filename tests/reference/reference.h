// The ops in fp64, as plain loops written from their formulas. Nothing is shared with the kernels but the shapes.
#pragma once

#include <cstdint>
#include <vector>

#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/pool.h>

namespace noisysgd::reference {

using Vector = std::vector<double>;

// op(A) [m,k] times op(B) [k,n]; A is stored [k,m] if transposed, B [n,k].
Vector product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const Vector& a, const Vector& b);
// [outputs,inputs]: sum over samples of the squared per-sample gradient grad_y_n x_n^T
Vector linear_second_moment(int64_t samples, int64_t outputs, int64_t inputs, const Vector& x, const Vector& grad_y);

Vector conv_forward(const kernels::ConvShape& shape, const Vector& x, const Vector& weight, const Vector& bias);

struct ConvGradients {
  Vector x, weight;
};
// Gradients of <grad_y, conv_forward(x, weight)>.
ConvGradients conv_backward(const kernels::ConvShape& shape, const Vector& x, const Vector& weight,
                            const Vector& grad_y);

struct Moments {
  Vector sum, sum_of_squares;  // over samples
};
// Per-sample sums over positions of grad_y [M,T,K], and their squares.
Moments bias_moments(int64_t samples, int64_t positions, int64_t channels, const Vector& grad_y);

struct BatchNorm {
  Vector mean, inverse_std, unbiased_variance;  // [groups,C]
  Vector normalised, y;                         // [M,T,C]
};
BatchNorm batch_norm_forward(const kernels::BatchNormShape& shape, double epsilon, const Vector& x, const Vector& gamma,
                             const Vector& beta);

struct MaxPool {
  Vector y;
  std::vector<uint8_t> index;
};
MaxPool max_pool(const kernels::PoolShape& shape, const Vector& x);
Vector average_pool(const kernels::PoolShape& shape, const Vector& x);
Vector global_average_pool(int64_t batch, int64_t positions, int64_t channels, const Vector& x);

Vector softmax(int64_t samples, int64_t classes, const Vector& logits);
// [M], unweighted
Vector cross_entropy(int64_t samples, int64_t classes, const Vector& logits, const std::vector<int32_t>& labels,
                     double label_smoothing);

}  // namespace noisysgd::reference
