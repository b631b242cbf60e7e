#include "kernels/sgd_step.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/simd/ops.h"

namespace noisysgd::kernels {

void check(const NoiseDraw& draw) {
  const NoiseCoefficients& variance = draw.field.variance;
  NSGD_CHECK(draw.n >= 0, "noise: tensor {} has {} elements", draw.tensor, draw.n);
  NSGD_CHECK(draw.n == 0 || draw.field.second_moment || variance.second_moment == 0,
             "noise: tensor {} has noise of variance {} Q but no second moment", draw.tensor, variance.second_moment);
  NSGD_CHECK(draw.n == 0 || draw.gradient_sum || variance.gradient_sum == 0,
             "noise: tensor {} has noise of variance {} S^2 but no gradient", draw.tensor, variance.gradient_sum);
}

static NoiseDraw noise_of(const SgdSegment& segment, const SgdHyperparameters& hyperparameters) {
  return {segment.n, segment.gradient_sum, segment.noise, hyperparameters.seed, hyperparameters.step, segment.tensor};
}

void check(const SgdSegment& segment, const SgdHyperparameters& hyperparameters) {
  check(noise_of(segment, hyperparameters));
  NSGD_CHECK(segment.n == 0 || (segment.value && segment.gradient_sum),
             "sgd_step: tensor {} has no value or no gradient", segment.tensor);
  NSGD_CHECK(segment.n == 0 || segment.velocity || hyperparameters.momentum == 0,
             "sgd_step: momentum {} but tensor {} has no velocity", hyperparameters.momentum, segment.tensor);
}

namespace simd {

namespace {

// Tensors are cut into pieces of fixed size: norms are summed piece by piece, in order, on any number of threads.
constexpr int64_t piece_size = 16384;  // a multiple of 32, so that pieces begin at a whole batch

int64_t pieces(const SgdSegment& segment) { return (segment.n + piece_size - 1) / piece_size; }

// Elements first .. first+piece_size-1 of the noise.
SgdPiece noise_piece(const NoiseDraw& draw, int64_t first) {
  const auto from = [first](auto* pointer) { return pointer ? pointer + first : nullptr; };
  const NoiseField& field = draw.field;
  SgdPiece piece{};
  piece.first = first;
  piece.n = std::min(piece_size, draw.n - first);
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

SgdPiece make_piece(const SgdSegment& segment, const SgdHyperparameters& hyperparameters, int64_t first) {
  SgdPiece piece = noise_piece(noise_of(segment, hyperparameters), first);
  piece.value = segment.value + first;
  piece.velocity = segment.velocity ? segment.velocity + first : nullptr;
  piece.learning_rate = hyperparameters.learning_rate.read();
  piece.momentum = hyperparameters.momentum;
  piece.weight_decay = segment.weight_decay;
  piece.inverse_batch = hyperparameters.inverse_batch;
  piece.inverse_batch *= static_cast<float>(hyperparameters.gradient_factor.read());
  piece.nesterov = hyperparameters.nesterov;
  piece.noise_after_momentum = hyperparameters.noise_after_momentum;
  return piece;
}

}  // namespace

void sgd_step(Queue& queue, const SimdKernels& kernels, std::span<const SgdSegment> segments,
              const SgdHyperparameters& hyperparameters, StepNorms* norms) {
  if (hyperparameters.halted.read() != 0) return;
  int64_t total = 0;
  for (const SgdSegment& segment : segments) {
    check(segment, hyperparameters);
    total += pieces(segment);
  }
  double* const partial =
      norms ? static_cast<double*>(queue.workspace(static_cast<size_t>(2 * total) * sizeof(double))) : nullptr;

  const int64_t threads = std::min<int64_t>(queue.threads(), std::max<int64_t>(total, 1));
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(threads)) if (threads > 1)
  for (int64_t thread = 0; thread < threads; ++thread) {
    // A contiguous share of all pieces, however they are spread over the segments.
    const int64_t begin = thread * total / threads, end = (thread + 1) * total / threads;
    int64_t before = 0;
    for (const SgdSegment& segment : segments) {
      const int64_t count = pieces(segment);
      for (int64_t i = std::max(begin, before); i < std::min(end, before + count); ++i) {
        SgdPiece piece = make_piece(segment, hyperparameters, (i - before) * piece_size);
        if (norms) piece.norms = partial + 2 * i;
        kernels.sgd_piece(piece);
      }
      before += count;
    }
  }
  if (!norms) return;
  StepNorms own;
  for (int64_t i = 0; i < total; ++i) {
    own.gradient_squared += partial[2 * i];
    own.noise_squared += partial[2 * i + 1];
  }
  const double factor = hyperparameters.gradient_factor.read();
  norms->gradient_squared += own.gradient_squared / (factor * factor);
  norms->noise_squared += own.noise_squared;
}

void draw_noise(Queue& queue, const SimdKernels& kernels, const NoiseDraw& draw, float* noise) {
  check(draw);
#pragma omp parallel for schedule(static) num_threads(queue.threads()) if (draw.n > piece_size)
  for (int64_t first = 0; first < draw.n; first += piece_size) {
    SgdPiece piece = noise_piece(draw, first);
    piece.noise_out = noise + first;
    kernels.sgd_piece(piece);
  }
}

}  // namespace simd

namespace cpu {

void sgd_step(Queue& queue, std::span<const SgdSegment> segments, const SgdHyperparameters& hyperparameters,
              StepNorms* norms) {
  simd::sgd_step(queue, simd::simd_kernels(), segments, hyperparameters, norms);
}

void draw_noise(Queue& queue, const NoiseDraw& draw, float* noise) {
  simd::draw_noise(queue, simd::simd_kernels(), draw, noise);
}

}  // namespace cpu

}  // namespace noisysgd::kernels
