// Random weights u_n of the samples of a batch. The backward pass of the losses weighted with them is a draw of noise.
#pragma once

#include <compare>
#include <cstdint>

#include <noisysgd/kernels/dispatch.h>
#include <noisysgd/kernels/philox.h>

namespace noisysgd::kernels {

enum class SampleDraw {
  constant,  // u = scale
  sign,      // u = scale sigma, sigma = +-1: the lowest bit of the group's word (0: +)
  normal,    // u = scale xi, xi ~ N(0,1) by Box-Muller in double precision from words 2b and 2b+1 of group b
  subset,    // u = M/chosen - 1 on `chosen` random samples (those with the smallest words), -1 on the others
};

struct SampleWeights {
  SampleDraw draw = SampleDraw::constant;
  float scale = 1;
  int64_t group = 1;      // consecutive samples that share a draw
  bool centered = false;  // subtracts the draws' mean and multiplies by sqrt(G/(G-1)), G groups
  int64_t chosen = 0;     // size of the subset
  auto operator<=>(const SampleWeights&) const = default;
};

// weights[n] = shift + factor u_n. Draws are functions of the stream and the sample's position in the batch.
NSGD_OP(sample_weights, void(Queue& queue, const SampleWeights& options, const RandomStream& stream, int64_t samples,
                             float shift, float factor, float* weights));  // [M]

// The number of groups in a batch. Throws Error for options that cannot be drawn.
int64_t count_groups(const SampleWeights& options, int64_t samples);

}  // namespace noisysgd::kernels
