// What a backward pass collects beside the gradient. Statistics are asked for, not hard-wired: a layer that cannot give
// one says so at start-up. All are sums over samples; optim/ divides once, so micro-batches only add.
#pragma once

#include <string_view>

namespace noisysgd {

// Estimator of diag(F) for weights shared over output positions t (convolutions); all agree where there is one
// position.
enum class SecondMoment {
  none,
  exact,         // sum_n (sum_t delta a)^2
  spatial,       // sum_n sum_t delta^2 a^2
  spatial_mean,  // the same divided by the number of positions
};

struct Statistics {
  SecondMoment second_moment = SecondMoment::none;
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
