// What a backward pass collects beside the gradient. Statistics are asked for, not hard-wired: a layer that cannot give
// one says so at start-up. All are sums over samples; optim/ divides once, so micro-batches only add.
#pragma once

#include <cstdint>
#include <string_view>

#include "kernels/signs.h"

namespace noisysgd {

// Estimator of diag(F) for weights shared over output positions t (convolutions); all agree where there is one
// position.
enum class SecondMoment {
  none,
  exact,         // sum_n (sum_t delta a)^2
  spatial,       // sum_n sum_t delta^2 a^2
  spatial_mean,  // the same divided by the number of positions
};

// Sums with random signs, added to Parameter::noise_sum beside the weight gradient of each layer: a draw of noise.
// The weight and the bias of a layer share signs; every layer has its own.
struct SignedSums {
  // Signs that a sample's gradients share over its positions.
  bool of_samples() const { return grain == kernels::SignGrain::sample || grain == kernels::SignGrain::sample_channel; }

  kernels::SignGrain grain = kernels::SignGrain::none;  // element: of signs in the gradient's place, not of gradients
  float scale = 1;                                      // of every sign
  uint64_t seed = 0;
  StepNumber step = 0;
  int64_t sample_offset = 0;  // of the micro-batch in its batch
  // Signs of single positions: the squares of what they multiply are added to Parameter::noise_variance.
  bool squares = false;
};

struct Statistics {
  SecondMoment second_moment = SecondMoment::none;
  // Above 0: the second moment is sum_b (sum of g_n over ghost batch b)^2 over groups of so many samples instead.
  int64_t ghost_size = 0;
  // Layers right before a batch normalisation: without the part of the second moment that it cancels
  // (layers/centered_sums.h).
  bool center_normalised = false;
  SignedSums signs = {};
  // Sums for the Kronecker factors of the layers that have them (core/parameter.h).
  bool kronecker_input = false, kronecker_output = false;
  // Layers with Kronecker factors leave out their second moment.
  bool factors_replace_second_moment = false;

  SecondMoment second_moment_of_factored() const {
    return factors_replace_second_moment ? SecondMoment::none : second_moment;
  }
  bool any() const {
    return second_moment != SecondMoment::none || signs.grain != kernels::SignGrain::none || kronecker_input ||
           kronecker_output;
  }
};

constexpr std::string_view name_of(SecondMoment kind) {
  switch (kind) {
    case SecondMoment::exact:
      return "exact";
    case SecondMoment::spatial:
      return "spatial";
    case SecondMoment::spatial_mean:
      return "spatial_mean";
    default:
      return "none";
  }
}

}  // namespace noisysgd
