#include "kernels/sgd_step.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/simd/ops.h"

namespace noisysgd::kernels {

void check(const SgdSegment& segment, const SgdHyperparameters& hyperparameters) {
  const NoiseCoefficients& noise = segment.noise;
  NSGD_CHECK(segment.n >= 0, "sgd_step: tensor {} has {} elements", segment.tensor, segment.n);
  NSGD_CHECK(segment.n == 0 || segment.second_moment || noise.second_moment == 0,
             "sgd_step: tensor {} has noise of variance {} Q but no second moment", segment.tensor,
             noise.second_moment);
  NSGD_CHECK(segment.n == 0 || segment.velocity || hyperparameters.momentum == 0,
             "sgd_step: momentum {} but tensor {} has no velocity", hyperparameters.momentum, segment.tensor);
}

namespace simd {

namespace {

// Tensors are cut into pieces of fixed size: norms are summed piece by piece, in order, on any number of threads.
constexpr int64_t piece_size = 16384;  // a multiple of 32, so that pieces begin at a whole batch

int64_t pieces(const SgdSegment& segment) { return (segment.n + piece_size - 1) / piece_size; }

// Elements first .. first+piece_size-1 of the segment.
SgdPiece make_piece(const SgdSegment& segment, const SgdHyperparameters& hyperparameters, int64_t first) {
  const auto from = [first](auto* pointer) { return pointer ? pointer + first : nullptr; };
  SgdPiece piece{};
  piece.first = first;
  piece.n = std::min(piece_size, segment.n - first);
  piece.value = from(segment.value);
  piece.velocity = from(segment.velocity);
  piece.gradient_sum = from(segment.gradient_sum);
  piece.second_moment = segment.noise.second_moment != 0 ? from(segment.second_moment) : nullptr;
  piece.explicit_noise = from(segment.explicit_noise);
  NoiseCoefficients noise = segment.noise;
  for (const float* factor : {segment.variance_factor, segment.match_factor})
    if (factor) noise = noise.scaled(*factor);
  piece.constant_noise = noise.constant;
  piece.second_moment_noise = noise.second_moment;
  piece.gradient_sum_noise = noise.gradient_sum;
  piece.draws_noise = noise.any();
  piece.learning_rate = hyperparameters.learning_rate.read();
  piece.momentum = hyperparameters.momentum;
  piece.weight_decay = segment.weight_decay;
  piece.inverse_batch = hyperparameters.inverse_batch;
  piece.inverse_batch *= static_cast<float>(hyperparameters.gradient_factor.read());
  piece.nesterov = hyperparameters.nesterov;
  piece.noise_after_momentum = hyperparameters.noise_after_momentum;
  piece.key = {hyperparameters.step.read(), segment.tensor, static_cast<uint32_t>(RandomPurpose::noise),
               static_cast<uint32_t>(hyperparameters.seed), static_cast<uint32_t>(hyperparameters.seed >> 32)};
  return piece;
}

}  // namespace

void sgd_step(Queue& queue, const SimdKernels& kernels, std::span<const SgdSegment> segments,
              const SgdHyperparameters& hyperparameters, SgdNorms* norms) {
  if (hyperparameters.halted.read() != 0) return;
  int64_t total = 0;
  for (const SgdSegment& segment : segments) {
    check(segment, hyperparameters);
    NSGD_CHECK(segment.n == 0 || (segment.value && segment.gradient_sum),
               "sgd_step: tensor {} has no value or no gradient", segment.tensor);
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
  SgdNorms own;
  for (int64_t i = 0; i < total; ++i) {
    own.gradient_squared += partial[2 * i];
    own.noise_squared += partial[2 * i + 1];
  }
  const double factor = hyperparameters.gradient_factor.read();
  norms->gradient_squared += own.gradient_squared / (factor * factor);
  norms->noise_squared += own.noise_squared;
}

void draw_noise(Queue& queue, const SimdKernels& kernels, const SgdSegment& segment,
                const SgdHyperparameters& hyperparameters, float* noise) {
  SgdHyperparameters without_momentum = hyperparameters;
  without_momentum.momentum = 0;
  check(segment, without_momentum);
  NSGD_CHECK(segment.n == 0 || segment.gradient_sum || segment.noise.gradient_sum == 0,
             "draw_noise: tensor {} has noise of variance {} S^2 but no gradient", segment.tensor,
             segment.noise.gradient_sum);
#pragma omp parallel for schedule(static) num_threads(queue.threads()) if (segment.n > piece_size)
  for (int64_t first = 0; first < segment.n; first += piece_size) {
    SgdPiece piece = make_piece(segment, hyperparameters, first);
    piece.noise_out = noise + first;
    kernels.sgd_piece(piece);
  }
}

}  // namespace simd

namespace cpu {

void sgd_step(Queue& queue, std::span<const SgdSegment> segments, const SgdHyperparameters& hyperparameters,
              SgdNorms* norms) {
  simd::sgd_step(queue, simd::simd_kernels(), segments, hyperparameters, norms);
}

void draw_noise(Queue& queue, const SgdSegment& segment, const SgdHyperparameters& hyperparameters, float* noise) {
  simd::draw_noise(queue, simd::simd_kernels(), segment, hyperparameters, noise);
}

}  // namespace cpu

}  // namespace noisysgd::kernels
