// Estimators of diag(F): how squared gradients are summed for a weight that is shared by the output positions t of a
// sample, as in a convolution. delta is the gradient of an output, a the input. With one position they are all equal.
#pragma once

#include <string_view>

namespace noisysgd {

enum class SecondMoment {
  none,
  exact,         // sum_n (sum_t delta a)^2
  spatial,       // sum_n sum_t delta^2 a^2
  spatial_mean,  // the same divided by the number of positions
};

constexpr std::string_view name_of(SecondMoment kind) {
  switch (kind) {
    case SecondMoment::none:
      return "none";
    case SecondMoment::exact:
      return "exact";
    case SecondMoment::spatial:
      return "spatial";
    case SecondMoment::spatial_mean:
      return "spatial_mean";
  }
  return "";
}

// The estimator whose sums are collected to compute `kind`: spatial for spatial_mean, which is divided later
// (optim/fisher.h).
constexpr SecondMoment collected_for(SecondMoment kind) {
  return kind == SecondMoment::spatial_mean ? SecondMoment::spatial : kind;
}

}  // namespace noisysgd
