// relu(x factor + term) of ghost groups in fp64, and inputs for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <noisysgd/kernels/conv.h>
#include <noisysgd/kernels/half.h>
#include "tests/random_tensor.h"

namespace noisysgd::test {

// [N,H,W,C]; the constants are [N/group,C]. NaN stays NaN.
inline std::vector<double> conv_operand_reference(const kernels::ConvShape& s, int64_t group,
                                                  const std::vector<float>& x, const std::vector<float>& factor,
                                                  const std::vector<float>& term) {
  std::vector<double> h;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t position = 0; position < s.height * s.width; ++position)
      for (int64_t c = 0; c < s.in_channels; ++c) {
        const auto constant = static_cast<size_t>(n / group * s.in_channels + c);
        const double value = double{x[h.size()]} * factor[constant] + term[constant];
        h.push_back(value < 0 ? 0 : value);
      }
  return h;
}

// With both signs of the map's results, and terms that are not 0, as the zeros beside an image are.
inline std::vector<float> random_factors(const kernels::ConvShape& s, int64_t group) {
  return random_tensor(s.batch / group * s.in_channels, 21, 0.2f, 1.5f);
}
inline std::vector<float> random_terms(const kernels::ConvShape& s, int64_t group) {
  return random_tensor(s.batch / group * s.in_channels, 22, 0.3f, 0.5f);
}

}  // namespace noisysgd::test
