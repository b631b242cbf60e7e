// Second moments without the part that a batch normalisation cancels (fisher.batch_norm "activation_centered").
// The output z of a layer is read by a (ghost) batch normalisation and by nothing else. Its gradient delta is then
// orthogonal to 1 and to xhat over the samples n and positions t of every ghost batch b. Hence, for any abar_b and c_b,
//   sum_nt delta_nt a_nt = sum_nt delta_nt (a_nt - abar_b - c_b xhat_nt).
// With abar_b = mean_b(a) and c_b = mean_b(a xhat), means over the samples and positions of b, a sample contributes
//   G_n - C_n = sum_t delta_nt (a_nt - abar_b - c_b xhat_nt).
// a: the input patch of an output position, zero outside the image. abar_b has one value for each weight of a filter
// [R,S,C], c_b one for each weight [K,R,S,C]. The contribution of the bias (a = 1) is 0.
// Cost: two more weight-gradient passes.
#pragma once

#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/layers/normalisation.h>

namespace noisysgd {

// conv_sample_sums with these C_n; z, mean and inverse_std of `normalisation`. A linear layer is a convolution of 1x1
// images.
void add_centered_sums(Context& context, const kernels::ConvShape& shape, const Normalisation& normalisation,
                       const Tensor& x, const Tensor& grad_y, kernels::SampleSums sums, float* grad_weight);

}  // namespace noisysgd
