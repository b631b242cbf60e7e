#include <noisysgd/layers/centered_sums.h>

#include <noisysgd/kernels/batch_norm.h>
#include <noisysgd/kernels/elementwise.h>

namespace noisysgd {

namespace {

// mean = mean_b(a factor) [K,R,S,C] for a factor [B,T,K]; mean_b(a) [R,S,C] for ones [B,T,1]
void mean_of_patches(Context& context, kernels::ConvShape shape, const float* x, const Tensor& factor,
                     const Tensor& mean) {
  shape.out_channels = factor.shape()[-1];
  fill(context, mean, 0.0f);
  kernels::conv_backward_weight(context.queue, shape, x, factor.f32(), mean.f32());
  const auto terms = static_cast<float>(shape.batch * shape.positions());
  kernels::scale(context.queue, mean.elements(), 1 / terms, mean.f32(), mean.f32());
}

}  // namespace

void add_centered_sums(Context& context, const kernels::ConvShape& shape, const Normalisation& normalisation,
                       const Tensor& x, const Tensor& grad_y, kernels::SampleSums sums, float* grad_weight) {
  auto& queue = context.queue;
  const int64_t channels = shape.out_channels, group = normalisation.group, positions = shape.positions();
  const int64_t x_sample = shape.height * shape.width * shape.in_channels, y_sample = positions * channels;
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
    const float* const group_x = x.f32() + first * x_sample;
    const float* const grad = grad_y.f32() + first * y_sample;
    const float* const z = normalisation.z.f32() + first * y_sample;
    const float* const mean = normalisation.mean.f32() + first / group * channels;
    const float* const inverse_std = normalisation.inverse_std.f32() + first / group * channels;
    kernels::batch_norm_normalised(queue, one_group, z, nullptr, nullptr, mean, inverse_std, xhat.f32());
    kernels::batch_norm_sample_gradients(queue, one_group, z, mean, inverse_std, grad, channel_sum.f32(),
                                         channel_product.f32());
    mean_of_patches(context, part, group_x, ones, tap_mean);
    mean_of_patches(context, part, group_x, xhat, slope);
    kernels::conv_sample_sums(queue, part, group_x, grad, sums, grad_weight);
    if (sums.signs) sums.signs += group * channels;
  }
}

}  // namespace noisysgd
