// Weight gradients sample by sample, in fp64 and directly from the formula: G_n[k,r,s,c] = sum_t grad_y[n,t,k]
// x[n,t+(r,s),c], their sum, the sum of their squares (exact), the sum of squared products (spatial), and, with
// signs [N,K], the sum of signs[n,k] G_n.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <noisysgd/kernels/conv.h>

namespace noisysgd::test {

struct SecondMomentReference {
  std::vector<double> sum, exact, spatial, signed_sum;  // [K,R,S,C]
};

inline SecondMomentReference second_moment_reference(const kernels::ConvShape& s, const std::vector<float>& x,
                                                     const std::vector<float>& grad_y,
                                                     const std::vector<float>& signs = {}) {
  const std::vector<double> zeros(static_cast<size_t>(s.weights()));
  SecondMomentReference result{zeros, zeros, zeros, zeros};
  for (int64_t n = 0; n < s.batch; ++n) {
    size_t weight = 0;
    for (int64_t k = 0; k < s.out_channels; ++k)
      for (int64_t r = 0; r < s.kernel_height; ++r)
        for (int64_t q = 0; q < s.kernel_width; ++q)
          for (int64_t c = 0; c < s.in_channels; ++c, ++weight) {
            double gradient = 0;
            for (int64_t i = 0; i < s.out_height(); ++i)
              for (int64_t j = 0; j < s.out_width(); ++j) {
                const int64_t h = i * s.stride_height + r - s.padding_height;
                const int64_t w = j * s.stride_width + q - s.padding_width;
                if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
                const double product = static_cast<double>(x[((n * s.height + h) * s.width + w) * s.in_channels + c]) *
                                       grad_y[((n * s.out_height() + i) * s.out_width() + j) * s.out_channels + k];
                gradient += product;
                result.spatial[weight] += product * product;
              }
            result.sum[weight] += gradient;
            result.exact[weight] += gradient * gradient;
            if (!signs.empty())
              result.signed_sum[weight] += signs[static_cast<size_t>(n * s.out_channels + k)] * gradient;
          }
  }
  return result;
}

// The results of conv_sample_sums for G_n; arrays are named as in its header.
struct SampleOperands {
  std::vector<float> tap_mean, slope, channel_sum, channel_product, signs;
};
struct SampleSumsReference {
  std::vector<double> second_moment, signed_sum;  // [K,R,S,C]; the former of G_n - C_n
};

inline SampleSumsReference sample_sums_reference(const kernels::ConvShape& s, const std::vector<float>& x,
                                                 const std::vector<float>& grad_y, const SampleOperands& operands) {
  const auto weights = static_cast<size_t>(s.weights()), taps = weights / static_cast<size_t>(s.out_channels);
  const auto x_sample = s.height * s.width * s.in_channels, y_sample = s.positions() * s.out_channels;
  SampleSumsReference result{std::vector<double>(weights), std::vector<double>(weights)};
  kernels::ConvShape one = s;
  one.batch = 1;
  for (int64_t n = 0; n < s.batch; ++n) {
    const std::vector<double> gradient =
        second_moment_reference(one, {x.begin() + n * x_sample, x.begin() + (n + 1) * x_sample},
                                {grad_y.begin() + n * y_sample, grad_y.begin() + (n + 1) * y_sample})
            .sum;
    for (size_t w = 0; w < weights; ++w) {
      const size_t channel = static_cast<size_t>(n * s.out_channels) + w / taps;
      const double centre = double{operands.tap_mean[w % taps]} * operands.channel_sum[channel] +
                            double{operands.slope[w]} * operands.channel_product[channel];
      result.second_moment[w] += (gradient[w] - centre) * (gradient[w] - centre);
      result.signed_sum[w] += operands.signs[channel] * gradient[w];
    }
  }
  return result;
}

}  // namespace noisysgd::test
