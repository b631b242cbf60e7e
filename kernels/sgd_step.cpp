#include <noisysgd/kernels/sgd_step.h>

#include <noisysgd/kernels/check.h>
#include <noisysgd/kernels/optimizer_pieces.h>
#include <noisysgd/kernels/simd/ops.h>

namespace noisysgd::kernels {

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

// Elements first .. first+step_piece_size-1 of the segment.
SgdPiece make_piece(const SgdSegment& segment, const SgdHyperparameters& hyperparameters, int64_t first) {
  SgdPiece piece = noise_piece(noise_of(segment, hyperparameters), first, step_piece_size);
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
  step_pieces(queue, segments, hyperparameters, norms, [&](const SgdSegment& segment, int64_t first, double* own) {
    SgdPiece piece = make_piece(segment, hyperparameters, first);
    piece.norms = own;
    kernels.sgd_piece(piece);
  });
}

}  // namespace simd

namespace cpu {

void sgd_step(Queue& queue, std::span<const SgdSegment> segments, const SgdHyperparameters& hyperparameters,
              StepNorms* norms) {
  simd::sgd_step(queue, simd::simd_kernels(), segments, hyperparameters, norms);
}

}  // namespace cpu

}  // namespace noisysgd::kernels
