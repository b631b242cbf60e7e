#include <noisysgd/kernels/adamw_step.h>

#include <cmath>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/optimizer_pieces.h>
#include <noisysgd/kernels/simd/ops.h>
#include <noisysgd/kernels/target_clones.h>

namespace noisysgd::kernels {

namespace {

NoiseDraw noise_of(const AdamWSegment& segment, const AdamWHyperparameters& h) {
  return {segment.n, segment.gradient_sum, segment.noise, h.seed, h.step, segment.tensor};
}

// A few elements with their noise, and the coefficients of the step.
struct Chunk {
  int64_t n;
  float *value, *first, *second;
  const float *gradient_sum, *noise;
  float scale, learning_rate, beta1, beta2, epsilon, weight_decay;
  float correction1, root_correction2;  // 1/(1-b1^t), 1/sqrt(1-b2^t)
  bool after;
};

NSGD_TARGET_CLONES void step_chunk(const Chunk& by_reference) {
  const Chunk c = by_reference;
#pragma omp simd
  for (int64_t i = 0; i < c.n; ++i) {
    const float direction = c.gradient_sum[i] * c.scale + (c.after ? 0.0f : c.noise[i]);
    const float first = c.first[i] * c.beta1 + direction * (1 - c.beta1);
    const float second = c.second[i] * c.beta2 + direction * direction * (1 - c.beta2);
    float update = first * c.correction1 / (std::sqrt(second) * c.root_correction2 + c.epsilon);
    update += c.value[i] * c.weight_decay;
    if (c.after) update += c.noise[i];
    c.first[i] = first;
    c.second[i] = second;
    c.value[i] -= update * c.learning_rate;
  }
}

}  // namespace

void check(const AdamWSegment& segment, const AdamWHyperparameters& hyperparameters) {
  check(noise_of(segment, hyperparameters));
  NSGD_CHECK(segment.n == 0 || (segment.value && segment.first && segment.second && segment.gradient_sum),
             "adamw_step: tensor {} lacks its value, its moments or its gradient", segment.tensor);
}

namespace cpu {

void adamw_step(Queue& queue, std::span<const AdamWSegment> segments, const AdamWHyperparameters& h,
                StepNorms* norms) {
  constexpr int64_t chunk_size = 512;  // its noise stays in the cache; a multiple of 32
  const double t = static_cast<double>(h.step.read()) + 1;
  const auto correction1 = static_cast<float>(1 / (1 - std::pow(double{h.beta1}, t)));
  const auto root_correction2 = static_cast<float>(1 / std::sqrt(1 - std::pow(double{h.beta2}, t)));
  const float scale = h.inverse_batch * static_cast<float>(h.gradient_factor.read());
  step_pieces(queue, segments, h, norms, [&](const AdamWSegment& segment, int64_t begin, double* own) {
    const NoiseDraw draw = noise_of(segment, h);
    const bool noisy = draw.field.variance.any() || draw.field.vector;
    alignas(64) float noise[chunk_size] = {};
    if (own) own[0] = own[1] = 0;
    const int64_t end = std::min(segment.n, begin + step_piece_size);
    for (int64_t first = begin; first < end; first += chunk_size) {
      if (noisy) {
        simd::SgdPiece piece = simd::noise_piece(draw, first, std::min(chunk_size, end - first));
        piece.noise_out = noise;
        simd::simd_kernels().sgd_piece(piece);
      }
      const Chunk chunk{std::min(chunk_size, end - first),
                        segment.value + first,
                        segment.first + first,
                        segment.second + first,
                        segment.gradient_sum + first,
                        noise,
                        scale,
                        h.learning_rate.read(),
                        h.beta1,
                        h.beta2,
                        h.epsilon,
                        h.weight_decay,
                        correction1,
                        root_correction2,
                        h.noise_after_momentum};
      for (int64_t i = 0; own && i < chunk.n; ++i) {
        const double gradient = chunk.gradient_sum[i] * scale;
        own[0] += gradient * gradient;
        own[1] += double{noise[i]} * noise[i];
      }
      step_chunk(chunk);
    }
  });
}

}  // namespace cpu

}  // namespace noisysgd::kernels
