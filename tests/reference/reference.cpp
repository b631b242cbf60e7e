#include "tests/reference/reference.h"

#include <cmath>
#include <limits>

namespace noisysgd::reference {

Vector product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const Vector& a, const Vector& b) {
  Vector c(m * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l)
        c[i * n + j] += (transpose_a ? a[l * m + i] : a[i * k + l]) * (transpose_b ? b[j * k + l] : b[l * n + j]);
  return c;
}

Vector linear_second_moment(int64_t samples, int64_t outputs, int64_t inputs, const Vector& x, const Vector& grad_y) {
  Vector moment(outputs * inputs);
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t i = 0; i < outputs; ++i)
      for (int64_t j = 0; j < inputs; ++j)
        moment[i * inputs + j] += std::pow(grad_y[n * outputs + i] * x[n * inputs + j], 2);
  return moment;
}

namespace {

// visit(output element, input element, filter element) over all products of the convolution
template <class Visit>
void over_products(const kernels::ConvShape& s, const Visit& visit) {
  int64_t output = 0;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t i = 0; i < s.out_height(); ++i)
      for (int64_t j = 0; j < s.out_width(); ++j)
        for (int64_t k = 0; k < s.out_channels; ++k, ++output)
          for (int64_t r = 0; r < s.kernel_height; ++r)
            for (int64_t q = 0; q < s.kernel_width; ++q) {
              const int64_t row = i * s.stride_height + r - s.padding_height;
              const int64_t column = j * s.stride_width + q - s.padding_width;
              if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
              for (int64_t c = 0; c < s.in_channels; ++c)
                visit(output, ((n * s.height + row) * s.width + column) * s.in_channels + c,
                      ((k * s.kernel_height + r) * s.kernel_width + q) * s.in_channels + c);
            }
}

}  // namespace

Vector conv_forward(const kernels::ConvShape& s, const Vector& x, const Vector& weight, const Vector& bias) {
  Vector y(s.batch * s.positions() * s.out_channels);
  for (size_t i = 0; i < y.size() && !bias.empty(); ++i) y[i] = bias[i % s.out_channels];
  over_products(s, [&](int64_t output, int64_t input, int64_t tap) { y[output] += x[input] * weight[tap]; });
  return y;
}

ConvGradients conv_backward(const kernels::ConvShape& s, const Vector& x, const Vector& weight, const Vector& grad_y) {
  ConvGradients gradients{Vector(x.size()), Vector(weight.size())};
  over_products(s, [&](int64_t output, int64_t input, int64_t tap) {
    gradients.x[input] += grad_y[output] * weight[tap];
    gradients.weight[tap] += grad_y[output] * x[input];
  });
  return gradients;
}

Moments bias_moments(int64_t samples, int64_t positions, int64_t channels, const Vector& grad_y) {
  Moments moments{Vector(channels), Vector(channels)};
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t n = 0; n < samples; ++n) {
      double gradient = 0;
      for (int64_t t = 0; t < positions; ++t) gradient += grad_y[(n * positions + t) * channels + c];
      moments.sum[c] += gradient;
      moments.sum_of_squares[c] += gradient * gradient;
    }
  return moments;
}

BatchNorm batch_norm_forward(const kernels::BatchNormShape& s, double epsilon, const Vector& x, const Vector& gamma,
                             const Vector& beta) {
  const int64_t groups = s.samples / s.group, rows = s.group * s.positions;
  BatchNorm result{Vector(groups * s.channels), Vector(groups * s.channels), Vector(groups * s.channels),
                   Vector(x.size()), Vector(x.size())};
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t c = 0; c < s.channels; ++c) {
      const auto element = [&](int64_t row) { return (group * rows + row) * s.channels + c; };
      double mean = 0, squares = 0;
      for (int64_t row = 0; row < rows; ++row) mean += x[element(row)] / static_cast<double>(rows);
      for (int64_t row = 0; row < rows; ++row) squares += std::pow(x[element(row)] - mean, 2);
      const double inverse_std = 1 / std::sqrt(squares / static_cast<double>(rows) + epsilon);
      result.mean[group * s.channels + c] = mean;
      result.inverse_std[group * s.channels + c] = inverse_std;
      result.unbiased_variance[group * s.channels + c] = squares / static_cast<double>(rows - 1);
      for (int64_t row = 0; row < rows; ++row) {
        result.normalised[element(row)] = (x[element(row)] - mean) * inverse_std;
        result.y[element(row)] = gamma[c] * result.normalised[element(row)] + beta[c];
      }
    }
  return result;
}

namespace {

// visit(output element, tap number, source element or -1 for padding) over all windows
template <class Visit>
void over_windows(const kernels::PoolShape& s, const Visit& visit) {
  int64_t output = 0;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t i = 0; i < s.out_height(); ++i)
      for (int64_t j = 0; j < s.out_width(); ++j)
        for (int64_t c = 0; c < s.channels; ++c, ++output)
          for (int64_t tap = 0; tap < s.kernel * s.kernel; ++tap) {
            const int64_t row = i * s.stride - s.padding + tap / s.kernel;
            const int64_t column = j * s.stride - s.padding + tap % s.kernel;
            const bool inside = row >= 0 && row < s.height && column >= 0 && column < s.width;
            visit(output, tap, inside ? ((n * s.height + row) * s.width + column) * s.channels + c : int64_t{-1});
          }
}

int64_t outputs(const kernels::PoolShape& s) { return s.batch * s.out_height() * s.out_width() * s.channels; }

}  // namespace

MaxPool max_pool(const kernels::PoolShape& s, const Vector& x) {
  MaxPool result{Vector(outputs(s), -std::numeric_limits<double>::infinity()), std::vector<uint8_t>(outputs(s), 255)};
  over_windows(s, [&](int64_t output, int64_t tap, int64_t source) {
    if (source < 0) return;
    if (result.index[output] != 255 && !(x[source] > result.y[output])) return;
    result.y[output] = x[source];
    result.index[output] = static_cast<uint8_t>(tap);
  });
  return result;
}

Vector average_pool(const kernels::PoolShape& s, const Vector& x) {
  Vector y(outputs(s));
  over_windows(s, [&](int64_t output, int64_t, int64_t source) {
    if (source >= 0) y[output] += x[source] / static_cast<double>(s.kernel * s.kernel);
  });
  return y;
}

Vector global_average_pool(int64_t batch, int64_t positions, int64_t channels, const Vector& x) {
  Vector y(batch * channels);
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t t = 0; t < positions; ++t)
      for (int64_t c = 0; c < channels; ++c)
        y[n * channels + c] += x[(n * positions + t) * channels + c] / static_cast<double>(positions);
  return y;
}

Vector softmax(int64_t samples, int64_t classes, const Vector& logits) {
  Vector probabilities(logits.size());
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t k = 0; k < classes; ++k) {
      double inverse = 0;  // p_k = 1 / sum_j exp(z_j - z_k)
      for (int64_t j = 0; j < classes; ++j) inverse += std::exp(logits[n * classes + j] - logits[n * classes + k]);
      probabilities[n * classes + k] = 1 / inverse;
    }
  return probabilities;
}

Vector cross_entropy(int64_t samples, int64_t classes, const Vector& logits, const std::vector<int32_t>& labels,
                     double label_smoothing) {
  Vector losses(samples);
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t k = 0; k < classes; ++k) {
      const double target = (k == labels[n] ? 1 - label_smoothing : 0) + label_smoothing / static_cast<double>(classes);
      double log_inverse = 0;  // -log p_k = log sum_j exp(z_j - z_k)
      for (int64_t j = 0; j < classes; ++j) log_inverse += std::exp(logits[n * classes + j] - logits[n * classes + k]);
      if (target != 0) losses[n] += target * std::log(log_inverse);
    }
  return losses;
}

}  // namespace noisysgd::reference
