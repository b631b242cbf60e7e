// Batch normalisation in parts against the formulas of kernels/batch_norm_parts.h in fp64.
#include <noisysgd/kernels/batch_norm_parts.h>

#include <cmath>

#include <noisysgd/core/tensor.h>
#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"
#include "tests/test_device.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;
using reference::Vector;

namespace {

constexpr float epsilon = 1e-3f, momentum = 0.1f;

int64_t size(const BatchNormShape& s) { return s.samples * s.positions * s.channels; }
int64_t statistics(const BatchNormShape& s) { return s.groups() * s.channels; }
int64_t rows(const BatchNormShape& s) { return s.group * s.positions; }
// Index in [groups,C] of element i of [M,T,C].
size_t statistic(const BatchNormShape& s, size_t i) {
  return i / static_cast<size_t>(rows(s) * s.channels) * s.channels + i % s.channels;
}

// n numbers on the device. They begin at the address of a float that is no multiple of 8 bytes.
class Floats {
 public:
  Floats(Context& context, const std::vector<float>& values)
      : context_(context), tensor_(context, {count(values) + 1}) {
    std::vector<float> shifted{0.0f};
    shifted.insert(shifted.end(), values.begin(), values.end());
    copy_from_host<float>(context, shifted, tensor_);
  }
  operator float*() const { return tensor_.f32() + 1; }
  std::vector<float> values() const {
    const std::vector<float> shifted = to_host<float>(context_, tensor_);
    return {shifted.begin() + 1, shifted.end()};
  }
  std::string difference(const Vector& expected, Tolerance tolerance = {}) const {
    return compare(values(), expected, tolerance);
  }

 private:
  static int64_t count(const std::vector<float>& values) { return static_cast<int64_t>(values.size()); }
  Context& context_;
  Tensor tensor_;
};

// What the statistics of a batch become, on the device and in fp64.
struct Statistics {
  explicit Statistics(Context& context, const BatchNormShape& shape)
      : s(shape),
        gamma(context, random_tensor(s.channels, 2, 1.5f)),
        beta(context, random_tensor(s.channels, 3)),
        running_mean(context, random_tensor(s.channels, 4, 2)),
        running_variance(context, random_tensor(s.channels, 5, 2)),
        mean(context, nan_tensor(statistics(s))),
        inverse_std(context, nan_tensor(statistics(s))),
        factor(context, nan_tensor(statistics(s))),
        term(context, nan_tensor(statistics(s))) {}

  BatchNormStatistics arrays(bool factors = true) const {
    return {.epsilon = epsilon,
            .gamma = gamma,
            .beta = beta,
            .momentum = momentum,
            .running_mean = running_mean,
            .running_variance = running_variance,
            .mean = mean,
            .inverse_std = inverse_std,
            .factor = factors ? static_cast<float*>(factor) : nullptr,
            .term = factors ? static_cast<float*>(term) : nullptr};
  }

  // Of means and sums of squared deviations [groups,C].
  void check(const Vector& expected_mean, const Vector& m2, bool factors = true) const {
    const auto count = static_cast<double>(rows(s));
    Vector inverse(m2.size()), factors64(m2.size()), terms(m2.size());
    Vector means = to_double(random_tensor(s.channels, 4, 2)), variances = to_double(random_tensor(s.channels, 5, 2));
    const std::vector<float> gammas = gamma.values(), betas = beta.values();
    for (size_t i = 0; i < m2.size(); ++i) {
      const size_t c = i % s.channels;
      inverse[i] = 1 / std::sqrt(m2[i] / count + epsilon);
      factors64[i] = gammas[c] * inverse[i];
      terms[i] = betas[c] - expected_mean[i] * factors64[i];
      means[c] = (1 - momentum) * means[c] + momentum * expected_mean[i];
      variances[c] = (1 - momentum) * variances[c] + momentum * m2[i] / (count - 1);
    }
    CHECK(mean.difference(expected_mean, {.terms = count}) == "");
    CHECK(inverse_std.difference(inverse, {.terms = 4}) == "");
    const Tolerance of_groups{.terms = static_cast<double>(s.groups())};
    CHECK(running_mean.difference(means, of_groups) == "");
    CHECK(running_variance.difference(variances, of_groups) == "");
    if (!factors) return;
    CHECK(factor.difference(factors64, {.terms = 4}) == "");
    CHECK(term.difference(terms, {.terms = count, .condition = 4}) == "");
  }

  BatchNormShape s;
  Floats gamma, beta, running_mean, running_variance, mean, inverse_std, factor, term;
};

// Mean and sum of squared deviations of every block of `positions` rows, [groups,count,C]; positions = rows: of groups.
struct Blocks {
  Vector mean, m2;
};
Blocks blocks_of(const BatchNormShape& s, int64_t positions, const std::vector<float>& x) {
  Blocks blocks;
  for (int64_t group = 0; group < s.groups(); ++group)
    for (int64_t first = 0; first < rows(s); first += positions)
      for (int64_t c = 0; c < s.channels; ++c) {
        const int64_t last = std::min(first + positions, rows(s));
        double sum = 0, squares = 0;
        const auto at = [&](int64_t row) -> double { return x[(group * rows(s) + row) * s.channels + c]; };
        for (int64_t row = first; row < last; ++row) sum += at(row);
        const double mean = sum / static_cast<double>(last - first);
        for (int64_t row = first; row < last; ++row) squares += std::pow(at(row) - mean, 2);
        blocks.mean.push_back(mean);
        blocks.m2.push_back(squares);
      }
  return blocks;
}

// What the sums over positions of g and of g (x - mean) become, [M,C] each, on the device and in fp64.
struct Gradients {
  Gradients(Context& context, const BatchNormShape& shape)
      : s(shape),
        gamma(context, random_tensor(s.channels, 2, 1.5f)),
        mean(context, random_tensor(statistics(s), 3)),
        inverse_std(context, random_tensor(statistics(s), 4, 2)),
        parameters(context, random_tensor(4 * s.channels, 5)),
        grad(context, nan_tensor(statistics(s))),
        x(context, nan_tensor(statistics(s))),
        term(context, nan_tensor(statistics(s))) {}

  BatchNormFactors factors() const { return {grad, x, term}; }
  BatchNormGradientSums merge(const Floats& sums, int64_t parts) const {
    return {.sums = sums,
            .parts = parts,
            .gamma = gamma,
            .mean = mean,
            .inverse_std = inverse_std,
            .grad_gamma = parameters,
            .grad_beta = parameters + s.channels,
            .gamma_second_moment = parameters + 2 * s.channels,
            .beta_second_moment = parameters + 3 * s.channels,
            .factors = factors()};
  }
  BatchNormBackward backward(const Floats& x_array, const Floats& grad_y) const {
    return {.x = static_cast<float*>(x_array),
            .gamma = gamma,
            .mean = mean,
            .inverse_std = inverse_std,
            .grad_y = static_cast<float*>(grad_y),
            .grad_gamma = parameters,
            .grad_beta = parameters + s.channels,
            .gamma_second_moment = parameters + 2 * s.channels,
            .beta_second_moment = parameters + 3 * s.channels,
            .grad_x = nullptr,
            .factors = factors()};
  }

  void check(const Vector& sums, const Vector& products, int64_t terms) const {
    const std::vector<float> gammas = gamma.values(), means = mean.values(), inverses = inverse_std.values();
    Vector expected = to_double(random_tensor(4 * s.channels, 5)), offset(means.size()), slope(means.size()),
           factor_grad(means.size()), factor_x(means.size()), factor_term(means.size());
    for (size_t i = 0; i < sums.size(); ++i) {
      const size_t c = i % s.channels, group = i / static_cast<size_t>(s.group * s.channels) * s.channels + c;
      const double product = products[i] * inverses[group];
      expected[c] += product;
      expected[s.channels + c] += sums[i];
      expected[2 * s.channels + c] += product * product;
      expected[3 * s.channels + c] += sums[i] * sums[i];
      offset[group] += sums[i] / static_cast<double>(rows(s));
      slope[group] += product * inverses[group] / static_cast<double>(rows(s));
    }
    for (size_t i = 0; i < means.size(); ++i) {
      factor_grad[i] = double{gammas[i % s.channels]} * inverses[i];
      factor_x[i] = -factor_grad[i] * slope[i];
      factor_term[i] = -factor_grad[i] * offset[i] - factor_x[i] * means[i];
    }
    const Tolerance tolerance{.terms = static_cast<double>(terms), .condition = 4};
    CHECK(parameters.difference(expected, tolerance) == "");
    CHECK(grad.difference(factor_grad) == "");
    CHECK(x.difference(factor_x, tolerance) == "");
    CHECK(term.difference(factor_term, tolerance) == "");
  }

  BatchNormShape s;
  Floats gamma, mean, inverse_std, parameters, grad, x, term;
};

}  // namespace

TEST_CASE("statistics of a batch, with the factors and terms of its normalisation") {
  Context context(test_device, 2);
  for (const BatchNormShape s : {BatchNormShape{2, 1, 1, 2},
                                 {6, 5, 3, 3},
                                 {8, 31, 33, 4},
                                 {33, 1, 40, 33},
                                 {128, 9, 2, 64},
                                 {3, 1025, 16, 1},
                                 {4, 7, 264, 2},
                                 {105, 2, 5, 3}})
    for (const float offset : {0.0f, 100.0f})
      for (const bool factors : {false, true}) {
        CAPTURE(s.samples, s.positions, s.channels, s.group, offset, factors);
        const std::vector<float> values = random_tensor(size(s), 1, offset);
        const Floats x(context, values);
        const Statistics actual(context, s);
        batch_norm_statistics(context.queue, s, actual.arrays(factors), static_cast<float*>(x));
        const Blocks groups = blocks_of(s, rows(s), values);
        actual.check(groups.mean, groups.m2, factors);
        if (!factors) CHECK(std::isnan(actual.factor.values()[0]));
      }
}

TEST_CASE("statistics merged from those of blocks, the last of which is shorter") {
  Context context(test_device, 2);
  for (const BatchNormShape s : {BatchNormShape{2, 1, 1, 2},
                                 {3, 5, 3, 1},
                                 {6, 64, 16, 2},
                                 {9, 100, 17, 3},
                                 {5, 7, 100, 5},
                                 {105, 3, 4, 3},
                                 {4, 70, 33, 1}})
    for (const int64_t positions : {1, 3, 16, 1000})
      for (const float offset : {0.0f, 1000.0f}) {
        CAPTURE(s.samples, s.positions, s.channels, s.group, positions, offset);
        const int64_t count = (rows(s) + positions - 1) / positions, n = s.groups() * count * s.channels;
        const Vector means = to_double(random_tensor(n, 6, offset)), m2s = to_double(random_tensor(n, 7, 1));
        const Tensor mean = from_host<double>(context, {n}, means), m2 = from_host<double>(context, {n}, m2s);
        const Statistics actual(context, s);
        batch_norm_merge_statistics(context.queue, s, {count, positions, mean.data<double>(), m2.data<double>()},
                                    actual.arrays());
        Vector expected_mean(statistics(s)), expected_m2(expected_mean);
        for (int64_t i = 0; i < statistics(s); ++i) {
          const auto each = [&](const auto& body) {
            for (int64_t b = 0; b < count; ++b)
              body((i / s.channels * count + b) * s.channels + i % s.channels,
                   static_cast<double>(std::min(positions, rows(s) - b * positions)));
          };
          each([&](int64_t at, double part) { expected_mean[i] += means[at] * part / static_cast<double>(rows(s)); });
          each([&](int64_t at, double part) {
            expected_m2[i] += m2s[at] + part * std::pow(means[at] - expected_mean[i], 2);
          });
        }
        actual.check(expected_mean, expected_m2);
      }
}

TEST_CASE("gradients merged from the sums of samples and of their parts") {
  Context context(test_device, 2);
  for (const BatchNormShape s : {BatchNormShape{1, 4, 1, 1},
                                 {3, 9, 3, 1},
                                 {4, 1, 16, 2},
                                 {15, 16, 17, 5},
                                 {65, 4, 64, 65},
                                 {300, 2, 4, 300},
                                 {528, 1, 5, 264},
                                 {66, 3, 100, 2}})
    for (const int64_t parts : {1, 2, 3}) {
      CAPTURE(s.samples, s.positions, s.channels, s.group, parts);
      const int64_t n = s.samples * parts * s.channels * 2;
      const std::vector<float> values = random_tensor(n, 6, 0.1f);
      const Floats sums(context, values);
      const Gradients actual(context, s);
      batch_norm_merge_gradients(context.queue, s, actual.merge(sums, parts));
      Vector of_g(s.samples * s.channels), products(of_g);
      for (size_t i = 0; i < values.size(); i += 2) {
        const size_t channel = i / 2 % s.channels, sample = i / static_cast<size_t>(2 * s.channels * parts);
        of_g[sample * s.channels + channel] += values[i];
        products[sample * s.channels + channel] += values[i + 1];
      }
      actual.check(of_g, products, s.samples * parts);
    }
}

TEST_CASE("a backward pass that leaves factors sums the gradients of its ReLU's input") {
  enum class Relu { none, of_beta, of_output };
  Context context(test_device, 2);
  const Relu relu = GENERATE(Relu::none, Relu::of_beta, Relu::of_output);
  const bool two = GENERATE(false, true), in_place = GENERATE(false, true);
  for (const BatchNormShape s : {BatchNormShape{2, 3, 3, 1}, {8, 31, 33, 4}, {33, 1, 40, 33}, {4, 1025, 16, 2}}) {
    CAPTURE(static_cast<int>(relu), two, in_place, s.samples, s.positions, s.channels, s.group);
    const std::vector<float> x_values = random_tensor(size(s), 6), output_values = random_tensor(size(s), 7),
                             beta_values = random_tensor(s.channels, 8), first = random_tensor(size(s), 9),
                             second = random_tensor(size(s), 10);
    const Floats x(context, x_values), output(context, output_values), beta(context, beta_values),
        grad_y(context, first), other(context, second), apart(context, nan_tensor(size(s)));
    const Gradients actual(context, s);
    const bool written = relu != Relu::none || two;
    BatchNormBackward arrays = actual.backward(x, grad_y);
    if (two) arrays.other_grad_y = static_cast<float*>(other);
    if (relu == Relu::of_beta) arrays.relu_beta = beta;
    if (relu == Relu::of_output) arrays.relu_output = static_cast<float*>(output);
    const Floats& grad_addend = in_place ? grad_y : apart;
    if (written) arrays.grad_addend = static_cast<float*>(grad_addend);
    batch_norm_backward(context.queue, s, arrays);

    const std::vector<float> gammas = actual.gamma.values(), means = actual.mean.values(),
                             inverses = actual.inverse_std.values();
    std::vector<float> g = first;
    Vector sums(s.samples * s.channels), products(sums);
    for (size_t i = 0; i < g.size(); ++i) {
      const size_t c = i % s.channels, group = statistic(s, i);
      if (two) g[i] += second[i];
      const double normalised = (double{x_values[i]} - means[group]) * inverses[group] * gammas[c] + beta_values[c];
      if (relu == Relu::of_beta && !(normalised > 0)) g[i] = 0;
      if (relu == Relu::of_output && !(output_values[i] > 0)) g[i] = 0;
      const size_t to = i / static_cast<size_t>(s.positions * s.channels) * s.channels + c;
      sums[to] += g[i];
      products[to] += g[i] * (double{x_values[i]} - means[group]);
    }
    if (written) CHECK(grad_addend.values() == g);
    if (!written) CHECK(grad_y.values() == first);
    actual.check(sums, products, rows(s));
  }
}

TEST_CASE("the gradient of x is an affine map of that of the normalised values") {
  Context context(test_device, 2);
  for (const BatchNormShape s :
       {BatchNormShape{1, 1, 1, 1}, {6, 5, 3, 3}, {3, 33, 4, 1}, {8, 31, 33, 4}, {4, 1025, 16, 2}, {6, 2, 264, 2}}) {
    CAPTURE(s.samples, s.positions, s.channels, s.group);
    const std::vector<float> x_values = random_tensor(size(s), 1), g_values = random_tensor(size(s), 2),
                             factors[] = {random_tensor(statistics(s), 3), random_tensor(statistics(s), 4),
                                          random_tensor(statistics(s), 5)};
    const Floats x(context, x_values), g(context, g_values), grad(context, factors[0]), of_x(context, factors[1]),
        term(context, factors[2]), grad_x(context, nan_tensor(size(s)));
    const auto run = [&](const Floats& to) {
      batch_norm_input_gradient(context.queue, s, {grad, of_x, term}, static_cast<float*>(x), static_cast<float*>(g),
                                static_cast<float*>(to));
    };
    run(grad_x);
    Vector expected(x_values.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const size_t at = statistic(s, i);
      expected[i] = double{g_values[i]} * factors[0][at] + double{x_values[i]} * factors[1][at] + factors[2][at];
    }
    CHECK(grad_x.difference(expected, {.terms = 4}) == "");
    run(g);
    CHECK(g.values() == grad_x.values());
  }
}

TEST_CASE("batch normalisation from its parts is that of the forward and the backward pass") {
  Context context(test_device, 2);
  for (const BatchNormShape s : {BatchNormShape{6, 8, 3, 2}, {8, 31, 33, 4}, {9, 64, 16, 3}, {4, 9, 264, 4}})
    for (const float offset : {0.0f, 100.0f}) {
      CAPTURE(s.samples, s.positions, s.channels, s.group, offset);
      constexpr int64_t block = 20;
      const std::vector<float> x_values = random_tensor(size(s), 1, offset), addends = random_tensor(size(s), 8),
                               gradients = random_tensor(size(s), 9);
      const Floats x(context, x_values), addend(context, addends), grad_y(context, gradients),
          y(context, nan_tensor(size(s))), y_of_parts(context, nan_tensor(size(s))),
          addend_gradient(context, nan_tensor(size(s))), g(context, nan_tensor(size(s))),
          grad_x(context, nan_tensor(size(s))), grad_x_of_parts(context, nan_tensor(size(s)));
      const BatchNormEpilogue epilogue{static_cast<float*>(addend), true};
      const Statistics whole(context, s), merged(context, s);
      batch_norm_forward(context.queue, s,
                         {.epsilon = epsilon,
                          .gamma = whole.gamma,
                          .beta = whole.beta,
                          .momentum = momentum,
                          .running_mean = whole.running_mean,
                          .running_variance = whole.running_variance,
                          .mean = whole.mean,
                          .inverse_std = whole.inverse_std,
                          .epilogue = epilogue},
                         static_cast<float*>(x), static_cast<float*>(y));
      const Blocks blocks = blocks_of(s, block, x_values);
      const Shape of_blocks{static_cast<int64_t>(blocks.mean.size())};
      const Tensor mean = from_host<double>(context, of_blocks, blocks.mean),
                   m2 = from_host<double>(context, of_blocks, blocks.m2);
      batch_norm_merge_statistics(context.queue, s,
                                  {(rows(s) + block - 1) / block, block, mean.data<double>(), m2.data<double>()},
                                  merged.arrays());
      batch_norm_normalised(context.queue, s, {merged.mean, merged.inverse_std, merged.gamma, merged.beta, epilogue},
                            static_cast<float*>(x), static_cast<float*>(y_of_parts));
      const Tolerance tolerance{.terms = static_cast<double>(rows(s)), .condition = 4 * (1 + offset)};
      CHECK(y_of_parts.difference(to_double(y.values()), tolerance) == "");
      Vector by_factors(x_values.size());
      const std::vector<float> factor = merged.factor.values(), term = merged.term.values();
      for (size_t i = 0; i < by_factors.size(); ++i)
        by_factors[i] =
            std::fmax(0.0, double{x_values[i]} * factor[statistic(s, i)] + term[statistic(s, i)] + double{addends[i]});
      CHECK(y.difference(by_factors, tolerance) == "");

      // The whole pass, and gradients that are left by the backward pass and from sums of samples.
      const Gradients complete(context, s), left(context, s), summed(context, s);
      BatchNormBackward arrays = complete.backward(x, grad_y);
      const auto use_statistics = [&](auto& of) {
        of.gamma = whole.gamma, of.mean = whole.mean, of.inverse_std = whole.inverse_std;
      };
      use_statistics(arrays);
      arrays.relu_output = static_cast<float*>(y);
      arrays.grad_addend = static_cast<float*>(addend_gradient);
      arrays.grad_x = static_cast<float*>(grad_x);
      arrays.factors = {};
      batch_norm_backward(context.queue, s, arrays);
      arrays = left.backward(x, grad_y);
      use_statistics(arrays);
      arrays.relu_output = static_cast<float*>(y);
      arrays.grad_addend = static_cast<float*>(g);
      batch_norm_backward(context.queue, s, arrays);
      const std::vector<float> masked = g.values(), means = whole.mean.values();
      CHECK(masked == addend_gradient.values());
      std::vector<float> sums(2 * s.samples * s.channels);
      for (size_t i = 0; i < masked.size(); ++i) {
        const size_t to = i / static_cast<size_t>(s.positions * s.channels) * s.channels + i % s.channels;
        sums[2 * to] += masked[i];
        sums[2 * to + 1] += masked[i] * (x_values[i] - means[statistic(s, i)]);
      }
      const Floats sample_sums(context, sums);
      BatchNormGradientSums of_samples = summed.merge(sample_sums, 1);
      use_statistics(of_samples);
      batch_norm_merge_gradients(context.queue, s, of_samples);
      for (const Gradients* from : {&left, &summed}) {
        batch_norm_input_gradient(context.queue, s, from->factors(), static_cast<float*>(x), static_cast<float*>(g),
                                  static_cast<float*>(grad_x_of_parts));
        CHECK(grad_x_of_parts.difference(to_double(grad_x.values()), tolerance) == "");
        CHECK(from->parameters.difference(to_double(complete.parameters.values()), tolerance) == "");
      }
    }
}

TEST_CASE("parts of batch normalisation name arguments that do not fit, and leave an empty batch alone") {
  Context context(test_device, 1);
  const BatchNormShape s{6, 5, 3, 3}, none{0, 5, 3, 3};
  const Statistics actual(context, s);
  const Gradients gradients(context, s);
  const Floats x(context, random_tensor(size(s), 1));
  double* const nowhere = nullptr;
  CHECK_THROWS_WITH(batch_norm_merge_statistics(context.queue, s, {3, 4, nowhere, nowhere}, actual.arrays()),
                    "batch norm: 3 blocks of 4 positions are not the 15 positions of a group");
  BatchNormStatistics half = actual.arrays();
  half.term = nullptr;
  CHECK_THROWS_WITH(batch_norm_statistics(context.queue, s, half, static_cast<float*>(x)),
                    "batch norm: a factor and a term are wanted together");
  CHECK_THROWS_WITH(batch_norm_statistics(context.queue, {3, 1, 3, 1}, actual.arrays(), static_cast<float*>(x)),
                    "batch norm: a group of 1 sample with 1 position has no variance");
  BatchNormBackward both = gradients.backward(x, x);
  both.grad_x = static_cast<float*>(x);
  CHECK_THROWS_WITH(batch_norm_backward(context.queue, s, both),
                    "batch norm: backward writes either the gradient of x or all factors");
  both.grad_x = nullptr;
  both.relu_beta = gradients.gamma;
  CHECK_THROWS_WITH(batch_norm_backward(context.queue, s, both),
                    "batch norm: the factors belong to the gradient before the ReLU, which needs an array");

  batch_norm_statistics(context.queue, none, actual.arrays(), static_cast<float*>(x));
  batch_norm_merge_statistics(context.queue, none, {1, 15, nowhere, nowhere}, actual.arrays());
  batch_norm_merge_gradients(context.queue, none, gradients.merge(x, 1));
  batch_norm_input_gradient(context.queue, none, gradients.factors(), static_cast<float*>(x), static_cast<float*>(x),
                            static_cast<float*>(x));
  CHECK(actual.running_mean.values() == random_tensor(s.channels, 4, 2));
  CHECK(gradients.parameters.values() == random_tensor(4 * s.channels, 5));
  CHECK(std::isnan(actual.mean.values()[0]));
  CHECK(std::isnan(gradients.grad.values()[0]));
  CHECK(x.values() == random_tensor(size(s), 1));
}
