// The covariance of every noise structure on the tiny network, from the gradients of its single samples in double
// precision; and the comparison of draws with it.
#pragma once

#include <cmath>
#include <functional>

#include "tests/catch.h"
#include "tests/optim/tiny_network.h"

namespace noisysgd::test {

inline constexpr double m = TinyNetwork::samples;
inline constexpr double kappa = 1.0 / 2 - 1.0 / 8;  // M_S = 2
inline constexpr size_t size = TinyNetwork::size;

enum class Structure {
  none,
  full,
  diagonal,
  centered,
  block,
  unit,
  position,
  kronecker,
  trace,
  uniform_labels,
  model_labels
};

inline void add_centered(Covariance& covariance, const TinyNetwork& net) {
  Vector mean(size);
  for (int64_t n = 0; n < net.samples; ++n) {
    const Vector g = net.gradient(n);
    for (size_t i = 0; i < size; ++i) mean[i] += g[i] / m;
  }
  for (int64_t n = 0; n < net.samples; ++n) {
    Vector deviation = net.gradient(n);
    for (size_t i = 0; i < size; ++i) deviation[i] -= mean[i];
    covariance.add(deviation, kappa / (m - 1));
  }
}

// kappa Gamma (x) Omega of one layer; `index` numbers the parameters by output and input (the bias last).
template <class Index>
void add_kronecker(Covariance& covariance, const std::vector<Vector>& inputs, const std::vector<Vector>& deltas,
                   double positions, Index index) {
  const size_t columns = inputs[0].size(), rows = deltas[0].size();
  std::vector<Vector> omega(columns, Vector(columns)), gamma(rows, Vector(rows));
  for (const Vector& a : inputs)
    for (size_t p = 0; p < columns; ++p)
      for (size_t q = 0; q < columns; ++q) omega[p][q] += a[p] * a[q] / m;
  for (const Vector& d : deltas)
    for (size_t p = 0; p < rows; ++p)
      for (size_t q = 0; q < rows; ++q) gamma[p][q] += d[p] * d[q] / (m * positions);
  for (size_t i = 0; i < rows; ++i)
    for (size_t k = 0; k < rows; ++k)
      for (size_t p = 0; p < columns; ++p)
        for (size_t q = 0; q < columns; ++q)
          covariance.at(index(i, p), index(k, q)) += kappa * gamma[i][k] * omega[p][q];
}

inline void add_kronecker(Covariance& covariance, const TinyNetwork& net) {
  std::vector<Vector> conv_inputs, conv_deltas, linear_inputs, linear_deltas;
  for (int64_t n = 0; n < net.samples; ++n) {
    const std::vector<Vector> parts = net.parts(n);
    for (const Vector& patch : net.patches(n)) conv_inputs.push_back(patch);
    for (int64_t t = 0; t < net.positions; ++t) conv_deltas.push_back({parts[t][8], parts[t][9]});
    Vector hidden = net.hidden(n);
    hidden.push_back(1);
    linear_inputs.push_back(hidden);
    const Vector& linear = parts[net.positions];
    linear_deltas.push_back({linear[34], linear[35], linear[36]});
  }
  add_kronecker(covariance, conv_inputs, conv_deltas, net.positions,
                [](size_t i, size_t p) { return p < 4 ? 4 * i + p : 8 + i; });
  add_kronecker(covariance, linear_inputs, linear_deltas, 1,
                [](size_t i, size_t p) { return p < 8 ? 10 + 8 * i + p : 34 + i; });
}

inline Covariance formula(const TinyNetwork& net, Structure structure) {
  Covariance covariance;
  if (structure == Structure::centered) add_centered(covariance, net);
  if (structure == Structure::kronecker) add_kronecker(covariance, net);
  for (int64_t n = 0; n < net.samples; ++n) {
    if (structure == Structure::full) covariance.add(net.gradient(n), kappa / m);
    if (structure == Structure::diagonal)
      covariance.add(net.gradient(n), kappa / m, [](size_t i, size_t j) { return i == j; });
    if (structure == Structure::trace) {
      double squares = 0;
      for (const double g : net.gradient(n)) squares += g * g;
      for (size_t i = 0; i < size; ++i) covariance.at(i, i) += kappa / m * squares / static_cast<double>(size);
    }
    if (structure == Structure::block)
      covariance.add(net.gradient(n), kappa / m,
                     [](size_t i, size_t j) { return TinyNetwork::layer_of(i) == TinyNetwork::layer_of(j); });
    if (structure == Structure::unit)
      covariance.add(net.gradient(n), kappa / m,
                     [](size_t i, size_t j) { return TinyNetwork::unit_of(i) == TinyNetwork::unit_of(j); });
    if (structure == Structure::position)
      for (const Vector& part : net.parts(n)) covariance.add(part, kappa / m);
    if (structure == Structure::uniform_labels || structure == Structure::model_labels) {
      const bool uniform = structure == Structure::uniform_labels;
      const Vector p = net.probabilities(n);
      for (int32_t k = 0; k < net.classes; ++k) {
        Vector deviation = net.logit_gradient(n, k);
        const Vector mean = net.logit_gradient(n, -1);
        for (size_t i = 0; uniform && i < deviation.size(); ++i) deviation[i] -= mean[i];
        covariance.add(net.gradient(n, deviation), kappa / m * (uniform ? 1.0 / 3 : p[static_cast<size_t>(k)]));
      }
    }
  }
  return covariance;
}

// Checks that the sample covariance of draws of mean 0 agrees with the expected one, each entry within seven standard
// errors. The product of two variables with kurtosis up to `kurtosis` has a variance below (kurtosis - 1) S_ii S_jj +
// S_ij^2.
inline void check_draws(const std::function<Vector(int draw)>& draw, const Covariance& expected, int draws,
                        double kurtosis = 3) {
  Covariance sampled;
  Vector mean(size);
  for (int k = 0; k < draws; ++k) {
    const Vector noise = draw(k);
    sampled.add(noise, 1.0 / draws);
    for (size_t i = 0; i < size; ++i) mean[i] += noise[i] / draws;
  }
  double worst = 0, worst_mean = 0;
  for (size_t i = 0; i < size; ++i) {
    const double own = expected.at(i, i);
    if (own == 0) CHECK(sampled.at(i, i) <= 1e-5 * expected.trace() / size);  // K-FAC's jitter
    if (own > 0) worst_mean = std::max(worst_mean, std::abs(mean[i]) / std::sqrt(own / draws));
    for (size_t j = 0; j < size; ++j) {
      const double bound =
          std::sqrt(((kurtosis - 1) * own * expected.at(j, j) + expected.at(i, j) * expected.at(i, j)) / draws);
      if (bound > 0) worst = std::max(worst, std::abs(sampled.at(i, j) - expected.at(i, j)) / bound);
    }
  }
  CHECK(worst < 7);
  CHECK(worst_mean < 6);
  CHECK(expected.trace() > 0);
  CHECK(sampled.trace() / expected.trace() == Approx(1).margin(0.15));
}

}  // namespace noisysgd::test
