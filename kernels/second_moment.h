// How the squares of gradients are summed where a weight is shared over the output positions t of a sample, as in a
// convolution: estimators of diag(F), which agree where there is one position.
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

// What is summed for it: sums are divided where they become diag(F) (optim/fisher.h).
constexpr SecondMoment collected_for(SecondMoment kind) {
  return kind == SecondMoment::spatial_mean ? SecondMoment::spatial : kind;
}

}  // namespace noisysgd
