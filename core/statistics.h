// What a backward pass collects beside the gradient. Statistics are asked for, not hard-wired: a layer that cannot give
// one says so at start-up. All are sums over samples; optim/ divides once, so micro-batches only add.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/second_moment.h>
#include <noisysgd/kernels/signs.h>

namespace noisysgd {

// Sums with random signs, added to Sums::signed_sum beside the weight gradient of each layer: a draw of noise.
// The weight and the bias of a layer share signs; every layer has its own.
struct SignedSums {
  // Signs that a sample's gradients share over its positions.
  bool of_samples() const { return grain == kernels::SignGrain::sample || grain == kernels::SignGrain::sample_channel; }

  auto operator<=>(const SignedSums&) const = default;

  kernels::SignGrain grain = kernels::SignGrain::none;  // element: of signs in the gradient's place, not of gradients
  float scale = 1;                                      // of every sign
  // Signs of single positions: the squares of what they multiply are added to Sums::signed_variance.
  bool squares = false;
};

// Which random numbers the samples of a pass get: those of this step of the run with this seed, from sample `offset` of
// its batch on, so that nothing depends on micro-batches.
struct SampleStream {
  uint64_t seed = 0;
  StepNumber step = 0;
  int64_t offset = 0;
};

struct Statistics {
  SecondMoment second_moment = SecondMoment::none;  // as collected_for gives it
  // Layers right before a batch normalisation: without the part of the second moment that it cancels
  // (layers/centered_sums.h).
  bool center_normalised = false;
  SignedSums signs = {};
  // Sums for the Kronecker factors of the layers that have them (core/sums.h).
  bool kronecker_input = false, kronecker_output = false;
  // Layers with Kronecker factors leave out their second moment.
  bool factors_replace_second_moment = false;

  auto operator<=>(const Statistics&) const = default;
  bool any() const {
    return second_moment != SecondMoment::none || signs.grain != kernels::SignGrain::none || kronecker_input ||
           kronecker_output;
  }
};

}  // namespace noisysgd
