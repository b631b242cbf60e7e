#include <noisysgd/layers/random_signs.h>

#include <noisysgd/kernels/bias.h>

namespace noisysgd {

namespace {

void multiply_signs(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t positions, int64_t channels,
                    const float* x, float* y) {
  const SignedSums& signs = pass.statistics.signs;
  const RandomStream stream{pass.samples.seed, pass.samples.step, layer, RandomPurpose::noise_signs};
  kernels::multiply_signs(pass.context.queue,
                          {samples, positions, channels, signs.grain, signs.scale, stream,
                           static_cast<uint64_t>(pass.samples.offset)},
                          x, y);
}

}  // namespace

Tensor sample_signs(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t channels) {
  if (!pass.statistics.signs.of_samples()) return {};
  Tensor signs(pass.context, {samples, channels});
  multiply_signs(pass, layer, samples, 1, channels, nullptr, signs.f32());
  return signs;
}

void add_signed_samples(const BackwardPass& pass, uint32_t layer, const Tensor& gradients, float* sum) {
  const int64_t samples = gradients.shape()[0], channels = gradients.shape()[1];
  if (pass.statistics.signs.of_samples())
    multiply_signs(pass, layer, samples, 1, channels, gradients.f32(), gradients.f32());
  kernels::bias_backward(pass.context.queue, samples, 1, channels, gradients.f32(), sum, nullptr);
}

Tensor signed_gradient(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t positions, int64_t channels,
                       const Tensor& grad_y) {
  const kernels::SignGrain grain = pass.statistics.signs.grain;
  if (grain == kernels::SignGrain::none) return {};
  Tensor result(pass.context, grad_y.shape());
  const bool multiplies = grain != kernels::SignGrain::element;
  const Tensor factors = multiplies ? as_type(pass.context, grad_y, DType::f32) : Tensor();
  multiply_signs(pass, layer, samples, positions, channels, multiplies ? factors.f32() : nullptr, result.f32());
  return result;
}

}  // namespace noisysgd
