// What a backward pass collects in addition to the gradient. Statistics are requested, not hard-wired; a request that a
// layer does not support is an error at start-up. All are sums over samples: micro-batches add, optim/ divides once.
#pragma once

#include <cstdint>

#include <noisysgd/kernels/second_moment.h>
#include <noisysgd/kernels/signs.h>

namespace noisysgd {

// Sums of gradients with random signs, added to Sums::signed_sum by each layer with parameters: a draw of noise.
// The weight and the bias of a layer share signs; different layers have independent signs.
struct SignedSums {
  // True if all positions of a sample share its signs.
  bool of_samples() const { return grain == kernels::SignGrain::sample || grain == kernels::SignGrain::sample_channel; }

  auto operator<=>(const SignedSums&) const = default;

  kernels::SignGrain grain = kernels::SignGrain::none;  // element: the signs replace the gradient
  float scale = 1;                                      // multiplies every sign
  // For signs of single positions: the squares of the terms that they multiply are added to Sums::signed_variance.
  bool squares = false;
};

// Selects the random numbers for the samples of a pass: by seed, step, and position in the batch, which starts at
// `offset`. The numbers therefore do not depend on the division into micro-batches.
struct SampleStream {
  uint64_t seed = 0;
  StepNumber step = 0;
  int64_t offset = 0;
};

struct Statistics {
  SecondMoment second_moment = SecondMoment::none;  // as returned by collected_for
  // Layers directly before a batch normalisation leave out the part of the second moment that it cancels
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
