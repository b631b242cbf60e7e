// The ops that use the vectorised kernels, with the instruction set as an argument, so that tests can run every set.
// The public ops (conv_second_moment.h, sgd_step.h, random.h) pass simd_kernels().
#pragma once

#include <span>

#include <noisysgd/kernels/conv_second_moment.h>
#include <noisysgd/kernels/philox.h>
#include <noisysgd/kernels/second_moment.h>
#include <noisysgd/kernels/sgd_step.h>
#include <noisysgd/kernels/simd/simd_kernels.h>

namespace noisysgd::kernels::simd {

// grad_weight [K,R,S,C] += sum_n G_n, and second_moment += the sum of `kind`: none, exact or spatial. The result does
// not depend on the number of threads: the order of every sum is a function of the shape.
void conv_weight_gradient(Queue& queue, const SimdKernels& kernels, const ConvShape& shape, SecondMoment kind,
                          const float* x, const float* grad_y, float* grad_weight, float* second_moment);
// The exact second moment is one of the SampleSums.
void conv_sample_sums(Queue& queue, const SimdKernels& kernels, const ConvShape& shape, const float* x,
                      const float* grad_y, const SampleSums& sums, float* grad_weight);

void sgd_step(Queue& queue, const SimdKernels& kernels, std::span<const SgdSegment> segments,
              const SgdHyperparameters& hyperparameters, StepNorms* norms);
// The piece for elements [first, first + most) of the noise, or up to its end. If noise_out is set,
// SimdKernels::sgd_piece writes the noise there. first: a multiple of 32.
SgdPiece noise_piece(const NoiseDraw& draw, int64_t first, int64_t most);
void draw_noise(Queue& queue, const SimdKernels& kernels, const NoiseDraw& draw, float* noise);

void random_normal(Queue& queue, const SimdKernels& kernels, int64_t n, float mean, float standard_deviation,
                   const RandomStream& stream, float* x);
void random_uniform(Queue& queue, const SimdKernels& kernels, int64_t n, float low, float high,
                    const RandomStream& stream, float* x);

}  // namespace noisysgd::kernels::simd
