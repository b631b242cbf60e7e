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

#include <noisysgd/core/tensor.h>
#include <noisysgd/kernels/conv_second_moment.h>

namespace noisysgd {

// How a batch normalisation normalises its input z [M,T,C]: xhat = (z - mean) inverse_std in ghost batches of `group`
// samples.
struct Normalisation {
  Tensor z, mean, inverse_std;  // mean and inverse_std: [groups,C]
  int64_t group = 0;
};

// conv_sample_sums with these C_n. A linear layer is a convolution of 1x1 images.
void add_centered_sums(Context& context, const kernels::ConvShape& shape, const Normalisation& normalisation,
                       const Tensor& x, const Tensor& grad_y, kernels::SampleSums sums, float* grad_weight);

}  // namespace noisysgd
