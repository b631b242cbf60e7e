#include <noisysgd/layers/centered_sums.h>

#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/elementwise.h>

namespace noisysgd {

namespace {

// mean = mean_b(a factor) [K,R,S,C] for a factor [B,T,K]; mean_b(a) [R,S,C] for ones [B,T,1]
void mean_of_patches(Context& context, kernels::ConvShape shape, const Tensor& x, const Tensor& factor,
                     const Tensor& mean) {
  shape.out_channels = factor.shape()[-1];
  fill(context, mean, 0.0f);
  kernels::conv_backward_weight(context.queue, shape, x.values(), factor.values(), mean.f32());
  const auto terms = static_cast<float>(shape.batch * shape.positions());
  kernels::scale(context.queue, mean.elements(), 1 / terms, mean.f32(), mean.f32());
}

}  // namespace

void add_centered_sums(Context& context, const kernels::ConvShape& shape, const Normalisation& normalisation,
                       const Tensor& x, const Tensor& grad_y, kernels::SampleSums sums, float* grad_weight) {
  auto& queue = context.queue;
  const int64_t channels = shape.out_channels, group = normalisation.group, positions = shape.positions();
  const kernels::BatchNormShape one_group{group, positions, channels, group};
  const Tensor ones(context, {group, positions, 1});
  fill(context, ones, 1.0f);
  const Tensor xhat(context, {group, positions, channels});
  const Tensor channel_sum(context, {group, channels}), channel_product(context, {group, channels});
  const Tensor slope(context, {shape.weights()}), tap_mean(context, {shape.weights() / channels});
  sums.tap_mean = tap_mean.f32();
  sums.slope = slope.f32();
  sums.channel_sum = channel_sum.f32();
  sums.channel_product = channel_product.f32();
  kernels::ConvShape part = shape;
  part.batch = group;
  for (int64_t first = 0; first < shape.batch; first += group) {
    const int64_t number = first / group;
    const Tensor group_x = x.rows(first, first + group), grad = grad_y.rows(first, first + group),
                 z = normalisation.z.rows(first, first + group), mean = normalisation.mean.rows(number, number + 1),
                 inverse_std = normalisation.inverse_std.rows(number, number + 1);
    kernels::batch_norm_normalised(queue, one_group, {mean.f32(), inverse_std.f32()}, z.values(), xhat.values());
    kernels::batch_norm_sample_gradients(queue, one_group, z.values(), mean.f32(), inverse_std.f32(), grad.values(),
                                         channel_sum.f32(), channel_product.f32());
    mean_of_patches(context, part, group_x, ones, tap_mean);
    mean_of_patches(context, part, group_x, xhat, slope);
    kernels::conv_sample_sums(queue, part, group_x.values(), grad.values(), sums, grad_weight);
    if (sums.signs) sums.signs += group * channels;
  }
}

}  // namespace noisysgd
