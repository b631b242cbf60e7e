// What batch normalisation shares on the CPU: blocks of a ghost group, and the merge of its gradients.
#pragma once

#include <algorithm>
#include <cstdint>

#include <noisysgd/kernels/batch_norm_parts.h>

namespace noisysgd::kernels::cpu {

// Blocks of whole rows or whole samples (units) of one group, numbered over all groups.
struct Blocks {
  int64_t per_group, units_per_group;

  Blocks(int64_t units, int64_t elements_per_unit)
      : per_group(std::clamp<int64_t>(units * elements_per_unit / 8192, 1, units)), units_per_group(units) {}

  int64_t first(int64_t block) const {  // first unit of the block, counted over all groups
    return block / per_group * units_per_group + units_per_group * (block % per_group) / per_group;
  }
  int64_t last(int64_t block) const {
    return block / per_group * units_per_group + units_per_group * (block % per_group + 1) / per_group;
  }
};

// Calls kernel(first element, rows, row width) for the wide rows of n elements (channel_rows.h), then for the
// incomplete last one.
template <class Kernel>
void over_wide_rows(int64_t n, int64_t width, const Kernel& kernel) {
  constexpr int64_t rows_at_once = 256;  // short partial sums: see sum_wide_rows
  const int64_t rows = n / width;
  for (int64_t row = 0; row < rows; row += rows_at_once) kernel(row * width, std::min(rows_at_once, rows - row), width);
  if (rows * width < n) kernel(rows * width, int64_t{1}, n - rows * width);
}

inline const float* at(const float* array, int64_t offset) { return array ? array + offset : nullptr; }

// Per channel: sums over samples of the sums over positions of g and of g (x - mean), and of the squares of these.
// Sums over one sample are formed in float; sums of these and of their squares over samples in double.
enum { sum_grad, sum_product, squared_grad, squared_product, sums_per_channel };

// Scales the sums of a group, [4,C], from x - mean to xhat, and calls write(c, offset, slope) for each channel, where
// grad_x = gamma inverse_std (g - offset - (x - mean) slope). inverse_std: [C], of the group; rows: of the group.
template <class Write>
void finish_gradients(int64_t rows, int64_t channels, const float* inverse_std, double* sums, const Write& write) {
  const double inverse_rows = 1.0 / static_cast<double>(rows);
  for (int64_t c = 0; c < channels; ++c) {
    const double inverse = inverse_std[c];
    sums[sum_product * channels + c] *= inverse;  // sum of g xhat
    sums[squared_product * channels + c] *= inverse * inverse;
    write(c, sums[sum_grad * channels + c] * inverse_rows, sums[sum_product * channels + c] * inverse_rows * inverse);
  }
}

// The factors of channel c; i: its index in [groups,C]. arrays: BatchNormBackward or BatchNormGradientSums.
template <class Arrays>
void write_factors(const Arrays& arrays, int64_t c, int64_t i, double offset, double slope) {
  const float grad = arrays.gamma[c] * arrays.inverse_std[i];
  const auto x = static_cast<float>(-grad * slope);
  arrays.factors.grad[i] = grad;
  arrays.factors.x[i] = x;
  arrays.factors.term[i] = static_cast<float>(-grad * offset - double{x} * arrays.mean[i]);
}

// Adds the groups' sums to the parameters' gradients. `sums` are those of the first group, [4,C], `stride` the distance
// to those of the next.
template <class Arrays>
void add_to_parameters(const Arrays& arrays, int64_t groups, int64_t channels, const double* sums, int64_t stride) {
  const auto accumulate = [&](int sum, float* target) {
    for (int64_t c = 0; target && c < channels; ++c) {
      double total = 0;
      for (int64_t group = 0; group < groups; ++group) total += sums[group * stride + sum * channels + c];
      target[c] += static_cast<float>(total);
    }
  };
  accumulate(sum_product, arrays.grad_gamma);
  accumulate(sum_grad, arrays.grad_beta);
  accumulate(squared_product, arrays.gamma_second_moment);
  accumulate(squared_grad, arrays.beta_second_moment);
}

}  // namespace noisysgd::kernels::cpu
