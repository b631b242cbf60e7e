#include <noisysgd/kernels/noise_field.h>

#include <algorithm>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/philox.h>
#include <noisysgd/kernels/simd/ops.h>

namespace noisysgd::kernels {

void check(const NoiseDraw& draw) {
  const NoiseCoefficients& variance = draw.field.variance;
  NSGD_CHECK(draw.n >= 0, "noise: tensor {} has {} elements", draw.tensor, draw.n);
  NSGD_CHECK(draw.n == 0 || draw.field.second_moment || variance.second_moment == 0,
             "noise: tensor {} has noise of variance {} Q but no second moment", draw.tensor, variance.second_moment);
  NSGD_CHECK(draw.n == 0 || draw.gradient_sum || variance.gradient_sum == 0,
             "noise: tensor {} has noise of variance {} S^2 but no gradient", draw.tensor, variance.gradient_sum);
}

namespace simd {

SgdPiece noise_piece(const NoiseDraw& draw, int64_t first, int64_t most) {
  const auto from = [first](auto* pointer) { return pointer ? pointer + first : nullptr; };
  const NoiseField& field = draw.field;
  SgdPiece piece{};
  piece.first = first;
  piece.n = std::min(most, draw.n - first);
  piece.gradient_sum = from(draw.gradient_sum);
  piece.second_moment = field.variance.second_moment != 0 ? from(field.second_moment) : nullptr;
  piece.explicit_noise = from(field.vector);
  NoiseCoefficients variance = field.variance;
  for (const float* factor : {field.variance_factor, field.match_factor})
    if (factor) variance = variance.scaled(*factor);
  piece.constant_noise = variance.constant;
  piece.second_moment_noise = variance.second_moment;
  piece.gradient_sum_noise = variance.gradient_sum;
  piece.draws_noise = variance.any();
  piece.key = {draw.step.read(), draw.tensor, static_cast<uint32_t>(RandomPurpose::noise),
               static_cast<uint32_t>(draw.seed), static_cast<uint32_t>(draw.seed >> 32)};
  return piece;
}

void draw_noise(Queue& queue, const SimdKernels& kernels, const NoiseDraw& draw, float* noise) {
  check(draw);
  constexpr int64_t piece_size = 16384;
#pragma omp parallel for schedule(static) num_threads(queue.threads()) if (draw.n > piece_size)
  for (int64_t first = 0; first < draw.n; first += piece_size) {
    SgdPiece piece = noise_piece(draw, first, piece_size);
    piece.noise_out = noise + first;
    kernels.sgd_piece(piece);
  }
}

}  // namespace simd

namespace cpu {

void draw_noise(Queue& queue, const NoiseDraw& draw, float* noise) {
  simd::draw_noise(queue, simd::simd_kernels(), draw, noise);
}

}  // namespace cpu

}  // namespace noisysgd::kernels
