#include "layers/backward_statistics.h"

#include <algorithm>

#include "kernels/gemm.h"
#include "kernels/patches.h"

namespace noisysgd {

using kernels::Transpose;

Tensor signed_gradient(const BackwardPass& pass, uint32_t layer, int64_t samples, int64_t positions, int64_t channels,
                       const Tensor& grad_y) {
  const SignedSums& signs = pass.statistics.signs;
  if (signs.grain == kernels::SignGrain::none) return {};
  Tensor result(pass.context, grad_y.shape());
  const RandomStream stream{signs.seed, signs.step, layer, RandomPurpose::noise_signs};
  kernels::multiply_signs(pass.context.queue, samples, positions, channels, signs.grain, signs.scale, stream,
                          static_cast<uint64_t>(signs.sample_offset),
                          signs.grain == kernels::SignGrain::element ? nullptr : grad_y.f32(), result.f32());
  return result;
}

void add_kronecker_sums(const BackwardPass& pass, const KroneckerFactors& factors, const kernels::ConvShape& shape,
                        const Tensor& x, const Tensor& grad_y) {
  auto& queue = pass.context.queue;
  const int64_t rows = shape.batch * shape.positions();
  if (pass.statistics.kronecker_output)
    kernels::gemm(queue, Transpose::yes, Transpose::no, factors.outputs, factors.outputs, rows, 1.0f, grad_y.f32(),
                  grad_y.f32(), 1.0f, factors.output_sum.f32());
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
    kernels::gemm(queue, Transpose::yes, Transpose::no, factors.inputs, factors.inputs, part.batch * part.positions(),
                  1.0f, patches.f32(), patches.f32(), 1.0f, factors.input_sum.f32());
  }
}

}  // namespace noisysgd
