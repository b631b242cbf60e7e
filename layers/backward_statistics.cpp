#include "layers/backward_statistics.h"

#include <algorithm>

#include "kernels/bias.h"
#include "kernels/gram.h"
#include "kernels/patches.h"

namespace noisysgd {

namespace {

void multiply_signs(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t positions, int64_t channels,
                    const float* x, float* y) {
  const SignedSums& signs = pass.statistics.signs;
  const RandomStream stream{signs.seed, signs.step, layer, RandomPurpose::noise_signs};
  kernels::multiply_signs(pass.context.queue, samples, positions, channels, signs.grain, signs.scale, stream,
                          static_cast<uint64_t>(signs.sample_offset), x, y);
}

}  // namespace

Tensor sample_signs(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t channels) {
  if (!pass.statistics.signs.of_samples()) return {};
  Tensor signs(pass.context, {samples, channels});
  multiply_signs(pass, layer, samples, 1, channels, nullptr, signs.f32());
  return signs;
}

void add_signed_samples(const BackwardPass& pass, uint32_t layer, const Tensor& gradients, const Tensor& noise_sum) {
  const int64_t samples = gradients.shape()[0], channels = gradients.shape()[1];
  if (pass.statistics.signs.of_samples())
    multiply_signs(pass, layer, samples, 1, channels, gradients.f32(), gradients.f32());
  kernels::bias_backward(pass.context.queue, samples, 1, channels, gradients.f32(), noise_sum.f32(), nullptr);
}

Tensor signed_gradient(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t positions, int64_t channels,
                       const Tensor& grad_y) {
  const kernels::SignGrain grain = pass.statistics.signs.grain;
  if (grain == kernels::SignGrain::none) return {};
  Tensor result(pass.context, grad_y.shape());
  multiply_signs(pass, layer, samples, positions, channels,
                 grain == kernels::SignGrain::element ? nullptr : grad_y.f32(), result.f32());
  return result;
}

void add_kronecker_sums(const BackwardPass& pass, const KroneckerFactors& factors, const kernels::ConvShape& shape,
                        const Tensor& x, const Tensor& grad_y) {
  auto& queue = pass.context.queue;
  const int64_t rows = shape.batch * shape.positions();
  if (pass.statistics.kronecker_output)
    kernels::gram(queue, rows, factors.outputs, grad_y.f32(), factors.output_sum.f32());
  if (!pass.statistics.kronecker_input) return;
  // Patches of a few samples at a time: those of a whole batch would be R*S times its activations.
  constexpr int64_t block_elements = int64_t{1} << 20;
  const int64_t per_sample = shape.positions() * factors.inputs;
  const int64_t block = std::clamp<int64_t>(block_elements / per_sample, 1, std::max<int64_t>(1, shape.batch));
  const Tensor patches(pass.context, {block * shape.positions(), factors.inputs});
  for (int64_t first = 0; first < shape.batch; first += block) {
    kernels::ConvShape part = shape;
    part.batch = std::min(block, shape.batch - first);
    kernels::conv_patches(queue, part, factors.bias != nullptr,
                          x.f32() + first * shape.height * shape.width * shape.in_channels, patches.f32());
    kernels::gram(queue, part.batch * part.positions(), factors.inputs, patches.f32(), factors.input_sum.f32());
  }
}

}  // namespace noisysgd
