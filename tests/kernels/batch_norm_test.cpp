#include <noisysgd/kernels/batch_norm.h>

#include <fmt/format.h>
#include <rapidcheck.h>

#include <cmath>

#include "tests/catch.h"
#include "tests/compare.h"
#include "tests/gradcheck.h"
#include "tests/random_tensor.h"
#include "tests/reference/reference.h"

using namespace noisysgd;
using namespace noisysgd::kernels;
using namespace noisysgd::test;

namespace {

constexpr float epsilon = 1e-5f, momentum = 0.1f;

int64_t size(const BatchNormShape& s) { return s.samples * s.positions * s.channels; }

struct Forward {
  std::vector<float> running_mean, running_variance, mean, inverse_std, y;
  bool operator==(const Forward&) const = default;
};

Forward run_forward(Queue& queue, const BatchNormShape& s, const std::vector<float>& x, const std::vector<float>& gamma,
                    const std::vector<float>& beta, const BatchNormEpilogue& tail = {}) {
  Forward f{random_tensor(s.channels, 4, 2.0f), random_tensor(s.channels, 5, 2.0f), nan_tensor(s.groups() * s.channels),
            nan_tensor(s.groups() * s.channels), nan_tensor(size(s))};
  batch_norm_forward(queue, s,
                     {.epsilon = epsilon,
                      .gamma = gamma.data(),
                      .beta = beta.data(),
                      .momentum = momentum,
                      .running_mean = f.running_mean.data(),
                      .running_variance = f.running_variance.data(),
                      .mean = f.mean.data(),
                      .inverse_std = f.inverse_std.data(),
                      .epilogue = tail},
                     x.data(), f.y.data());
  return f;
}

// An input of mean `offset` and spread 1 carries the rounding of its mean: errors relative to the normalised values are
// larger by offset / spread.
Tolerance conditioned(const BatchNormShape& s, float offset) {
  return {.terms = static_cast<double>(s.group * s.positions), .condition = 1 + std::fabs(offset)};
}

std::string check_forward(Queue& queue, const BatchNormShape& s, float offset) {
  const std::vector<float> x = random_tensor(size(s), 1, offset), gamma = random_tensor(s.channels, 2, 1.5f),
                           beta = random_tensor(s.channels, 3);
  const Forward actual = run_forward(queue, s, x, gamma, beta);
  const reference::BatchNorm expected =
      reference::batch_norm_forward(s, epsilon, to_double(x), to_double(gamma), to_double(beta));
  std::vector<double> running_mean = to_double(random_tensor(s.channels, 4, 2.0f)),
                      running_variance = to_double(random_tensor(s.channels, 5, 2.0f));
  for (int64_t group = 0; group < s.groups(); ++group)
    for (int64_t c = 0; c < s.channels; ++c) {
      running_mean[c] = (1 - momentum) * running_mean[c] + momentum * expected.mean[group * s.channels + c];
      running_variance[c] =
          (1 - momentum) * running_variance[c] + momentum * expected.unbiased_variance[group * s.channels + c];
    }
  // Means of centred data almost cancel: the result has the rounding errors of the terms.
  const Tolerance centred{.terms = offset == 0 ? static_cast<double>(s.group * s.positions) : 1.0};
  const Tolerance statistic{.terms = static_cast<double>(s.groups())};  // sums over rows are in double
  for (const auto& [name, problem] : std::initializer_list<std::pair<const char*, std::string>>{
           {"mean", compare(actual.mean, expected.mean, centred)},
           {"inverse_std", compare(actual.inverse_std, expected.inverse_std, {.terms = 4})},
           {"running mean", compare(actual.running_mean, running_mean, statistic)},
           {"running variance", compare(actual.running_variance, running_variance, statistic)},
           {"y", compare(actual.y, expected.y, {.condition = 1 + std::fabs(offset)})}})
    if (!problem.empty()) return fmt::format("{}: {}", name, problem);
  return "";
}

std::string check_backward(Queue& queue, const BatchNormShape& s, float offset, bool in_place) {
  const std::vector<float> x = random_tensor(size(s), 1, offset), gamma = random_tensor(s.channels, 2, 1.5f),
                           beta = random_tensor(s.channels, 3), cotangent = random_tensor(size(s), 6);
  const Forward forward = run_forward(queue, s, x, gamma, beta);
  const std::vector<float> before = random_tensor(4 * s.channels, 7);
  const auto part = [&](int64_t i) {
    return std::vector<float>(before.begin() + i * s.channels, before.begin() + (i + 1) * s.channels);
  };
  std::vector<float> grad_gamma = part(0), grad_beta = part(1), gamma_moment = part(2), beta_moment = part(3);
  std::vector<float> grad_x = in_place ? cotangent : nan_tensor(size(s));
  batch_norm_backward(queue, s,
                      BatchNormBackward{.x = x.data(),
                                        .gamma = gamma.data(),
                                        .mean = forward.mean.data(),
                                        .inverse_std = forward.inverse_std.data(),
                                        .grad_y = in_place ? grad_x.data() : cotangent.data(),
                                        .grad_gamma = grad_gamma.data(),
                                        .grad_beta = grad_beta.data(),
                                        .gamma_second_moment = gamma_moment.data(),
                                        .beta_second_moment = beta_moment.data(),
                                        .grad_x = grad_x.data()});

  using Vector = std::vector<double>;
  const Vector c = to_double(cotangent);
  const auto loss = [&](const Vector& input, const Vector& scale, const Vector& shift) {
    return dot(reference::batch_norm_forward(s, epsilon, input, scale, shift).y, c);
  };
  Vector expected_gamma = central_differences([&](const Vector& v) { return loss(to_double(x), v, to_double(beta)); },
                                              to_double(gamma), 1.0);  // linear: exact for any step
  Vector expected_beta = central_differences([&](const Vector& v) { return loss(to_double(x), to_double(gamma), v); },
                                             to_double(beta), 1.0);
  const Vector expected_x = central_differences(
      [&](const Vector& v) { return loss(v, to_double(gamma), to_double(beta)); }, to_double(x), 1e-4);
  // Per sample: sum over positions of grad_y xhat, and of grad_y.
  const Vector normalised =
      reference::batch_norm_forward(s, epsilon, to_double(x), to_double(gamma), to_double(beta)).normalised;
  Vector product(c.size());
  for (size_t i = 0; i < c.size(); ++i) product[i] = c[i] * normalised[i];
  Vector expected_gamma_moment = reference::bias_moments(s.samples, s.positions, s.channels, product).sum_of_squares;
  Vector expected_beta_moment = reference::bias_moments(s.samples, s.positions, s.channels, c).sum_of_squares;
  for (int64_t i = 0; i < s.channels; ++i) {
    expected_gamma[i] += part(0)[i];
    expected_beta[i] += part(1)[i];
    expected_gamma_moment[i] += part(2)[i];
    expected_beta_moment[i] += part(3)[i];
  }
  const Tolerance tolerance = conditioned(s, offset);
  for (const auto& [name, problem] : std::initializer_list<std::pair<const char*, std::string>>{
           {"grad_gamma", compare(grad_gamma, expected_gamma, tolerance)},
           {"grad_beta", compare(grad_beta, expected_beta, {.terms = tolerance.terms})},
           {"gamma second moment", compare(gamma_moment, expected_gamma_moment, tolerance)},
           {"beta second moment", compare(beta_moment, expected_beta_moment, {.terms = tolerance.terms})},
           {"grad_x", compare(grad_x, expected_x, tolerance)}})
    if (!problem.empty()) return fmt::format("{}: {}", name, problem);
  return "";
}

}  // namespace

TEST_CASE("batch norm forward: output, saved and running statistics") {
  Queue queue({}, 2);
  for (const BatchNormShape s : {BatchNormShape{2, 1, 1, 2},
                                 {31, 1, 3, 31},
                                 {32, 1, 20, 8},
                                 {33, 4, 1, 11},
                                 {1025, 1, 5, 1025},
                                 {6, 1025, 3, 2},
                                 {128, 64, 16, 32},
                                 {4, 100, 16, 4},
                                 {64, 16, 33, 16},
                                 {8, 9, 100, 8},
                                 {8, 4, 513, 4}})
    for (const float offset : {0.0f, 100.0f}) {
      CAPTURE(s.samples, s.positions, s.channels, s.group, offset);
      CHECK(check_forward(queue, s, offset) == "");
    }
}

TEST_CASE("batch norm backward against central differences, and its second moments") {
  Queue queue({}, 2);
  for (const BatchNormShape s : {BatchNormShape{4, 1, 1, 4},
                                 {6, 1, 5, 3},
                                 {4, 9, 3, 4},
                                 {6, 6, 5, 2},
                                 {4, 33, 1, 2},
                                 {4, 7, 16, 4},
                                 {3, 5, 33, 3},
                                 {4, 3, 70, 2}})
    for (const float offset : {0.0f, 100.0f})
      for (const bool in_place : {false, true}) {
        CAPTURE(s.samples, s.positions, s.channels, s.group, offset, in_place);
        CHECK(check_backward(queue, s, offset, in_place) == "");
      }
}

TEST_CASE("batch norm of random shapes") {
  Queue queue({}, 2);
  CHECK(rc::check("forward and backward agree with the reference", [&] {
    // With very few channels sums may cancel by chance. With very few rows xhat is almost fixed (+-1 for two) and
    // grad_x all but cancels: relative errors mean little.
    const auto group = *rc::gen::inRange<int64_t>(6, 10);
    const BatchNormShape s{group * *rc::gen::inRange<int64_t>(1, 4), *rc::gen::inRange<int64_t>(1, 9),
                           *rc::gen::inRange<int64_t>(4, 40), group};
    RC_LOG() << s.samples << " " << s.positions << " " << s.channels << " " << s.group;
    RC_ASSERT(check_forward(queue, s, 3.0f) == "");
    if (size(s) < 600) RC_ASSERT(check_backward(queue, s, 3.0f, false) == "");
  }));
}

TEST_CASE("a mean far above the spread does not drown the variance") {
  Queue queue({}, 2);
  const BatchNormShape s{64, 32, 16, 64};
  const std::vector<float> x = random_tensor(size(s), 1, 10000.0f), gamma(s.channels, 1.0f), beta(s.channels, 0.0f);
  const Forward actual = run_forward(queue, s, x, gamma, beta);
  const reference::BatchNorm expected =
      reference::batch_norm_forward(s, epsilon, to_double(x), to_double(gamma), to_double(beta));
  CHECK(compare(actual.inverse_std, expected.inverse_std, {.terms = 4}) == "");
}

TEST_CASE("a constant channel normalises to beta") {
  Queue queue({}, 2);
  const BatchNormShape s{8, 5, 3, 4};
  const std::vector<float> x(size(s), 0.1f), gamma(3, 2.0f), beta = {-1.0f, 0.5f, 3.0f};
  const Forward actual = run_forward(queue, s, x, gamma, beta);
  for (int64_t i = 0; i < size(s); ++i) REQUIRE(actual.y[i] == Approx(beta[i % 3]).margin(1e-4));
}

TEST_CASE("batch norm does not depend on the thread count, nor a ghost group on the others") {
  Queue one({}, 1), three({}, 3);
  const BatchNormShape s{24, 50, 16, 8}, ghost{8, 50, 16, 8};
  const std::vector<float> x = random_tensor(size(s), 1), gamma = random_tensor(16, 2), beta = random_tensor(16, 3);
  const Forward a = run_forward(one, s, x, gamma, beta), b = run_forward(three, s, x, gamma, beta);
  CHECK(a == b);
  const std::vector<float> last(x.end() - size(ghost), x.end());
  const Forward alone = run_forward(three, ghost, last, gamma, beta);
  CHECK(alone.y == std::vector<float>(a.y.end() - size(ghost), a.y.end()));

  std::vector<float> gradients[2];
  Queue* queues[] = {&one, &three};
  for (int i = 0; i < 2; ++i) {
    std::vector<float> parameters(4 * 16), grad_x = nan_tensor(size(s));
    batch_norm_backward(*queues[i], s,
                        BatchNormBackward{.x = x.data(),
                                          .gamma = gamma.data(),
                                          .mean = a.mean.data(),
                                          .inverse_std = a.inverse_std.data(),
                                          .grad_y = a.y.data(),
                                          .grad_gamma = parameters.data(),
                                          .grad_beta = parameters.data() + 16,
                                          .gamma_second_moment = parameters.data() + 32,
                                          .beta_second_moment = parameters.data() + 48,
                                          .grad_x = grad_x.data()});
    gradients[i] = parameters;
    gradients[i].insert(gradients[i].end(), grad_x.begin(), grad_x.end());
  }
  CHECK(gradients[0] == gradients[1]);
}

TEST_CASE("batch norm inference uses the running statistics") {
  Queue queue({}, 2);
  for (const int64_t rows : {0, 1, 33, 1025})
    for (const int64_t channels : {1, 3, 16, 20, 100}) {
      CAPTURE(rows, channels);
      const std::vector<float> x = random_tensor(rows * channels, 1), gamma = random_tensor(channels, 2),
                               beta = random_tensor(channels, 3), mean = random_tensor(channels, 4),
                               variance = random_tensor(channels, 5, 2.0f);
      std::vector<double> expected(x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t c = i % channels;
        expected[i] = (double{x[i]} - mean[c]) / std::sqrt(double{variance[c]} + epsilon) * gamma[c] + beta[c];
      }
      std::vector<float> y = nan_tensor(rows * channels), in_place = x;
      batch_norm_inference(queue,
                           {.rows = rows,
                            .channels = channels,
                            .epsilon = epsilon,
                            .gamma = gamma.data(),
                            .beta = beta.data(),
                            .running_mean = mean.data(),
                            .running_variance = variance.data()},
                           x.data(), y.data());
      CHECK(compare(y, expected, {.terms = 4}) == "");
      batch_norm_inference(queue,
                           {.rows = rows,
                            .channels = channels,
                            .epsilon = epsilon,
                            .gamma = gamma.data(),
                            .beta = beta.data(),
                            .running_mean = mean.data(),
                            .running_variance = variance.data()},
                           in_place.data(), in_place.data());
      CHECK(in_place == y);
    }
}

TEST_CASE("an empty batch computes nothing, an incomplete or single-row group is named") {
  Queue queue({}, 1);
  std::vector<float> one(1, 1.0f), out(1, 5.0f);
  const auto forward = [&](const BatchNormShape& s) {
    batch_norm_forward(queue, s,
                       {.epsilon = epsilon,
                        .gamma = one.data(),
                        .beta = one.data(),
                        .momentum = momentum,
                        .running_mean = out.data(),
                        .running_variance = out.data(),
                        .mean = out.data(),
                        .inverse_std = out.data()},
                       one.data(), out.data());
  };
  forward({0, 1, 1, 4});
  CHECK(out[0] == 5.0f);
  CHECK_THROWS_WITH(forward({10, 1, 1, 4}), Catch::Matchers::Contains("10") && Catch::Matchers::Contains("4"));
  CHECK_THROWS_AS(forward({1, 1, 1, 1}), Error);
}

TEST_CASE("normalised values and the gradients of single samples follow the formula, with any number of threads") {
  for (const BatchNormShape& s :
       {BatchNormShape{4, 1, 1, 2}, {6, 5, 3, 3}, {8, 31, 33, 4}, {33, 1, 40, 33}, {4, 1025, 16, 2}, {130, 9, 2, 65}})
    for (const float offset : {0.0f, 100.0f}) {
      CAPTURE(s.samples, s.positions, s.channels, s.group, offset);
      const std::vector<float> x = random_tensor(size(s), 1, offset), grad = random_tensor(size(s), 6, 0.2f),
                               ones(static_cast<size_t>(s.channels), 1.0f), nothing(ones.size(), 0.0f);
      const reference::BatchNorm expected =
          reference::batch_norm_forward(s, epsilon, to_double(x), to_double(ones), to_double(nothing));
      std::vector<double> sums(static_cast<size_t>(s.samples * s.channels)), products(sums.size());
      for (int64_t i = 0; i < size(s); ++i) {
        const auto to = static_cast<size_t>(i / (s.positions * s.channels) * s.channels + i % s.channels);
        sums[to] += grad[i];
        products[to] += grad[i] * expected.normalised[i];
      }
      std::vector<float> first_xhat;
      for (const int threads : {1, 3}) {
        Queue queue({}, threads);
        const Forward forward = run_forward(queue, s, x, ones, nothing);
        std::vector<float> xhat = nan_tensor(size(s)), actual_sums = nan_tensor(s.samples * s.channels),
                           actual_products = actual_sums;
        batch_norm_normalised(queue, s, {forward.mean.data(), forward.inverse_std.data()}, x.data(), xhat.data());
        batch_norm_sample_gradients(queue, s, x.data(), forward.mean.data(), forward.inverse_std.data(), grad.data(),
                                    actual_sums.data(), actual_products.data());
        CHECK(compare(xhat, expected.normalised, {.condition = 1 + std::fabs(offset)}) == "");
        CHECK(compare(actual_sums, sums, {.terms = static_cast<double>(s.positions)}) == "");
        const Tolerance tolerance{.terms = static_cast<double>(s.positions), .condition = 1 + std::fabs(offset)};
        CHECK(compare(actual_products, products, tolerance) == "");
        if (threads == 1) first_xhat = xhat;
        CHECK(xhat == first_xhat);
      }
    }
}

TEST_CASE("ReLU and addend in the pass of batch norm give the bits of separate ops, with any number of threads") {
  for (const BatchNormShape s :
       {BatchNormShape{4, 1, 1, 2}, {6, 5, 3, 3}, {8, 31, 33, 4}, {33, 1, 40, 33}, {4, 1025, 16, 2}, {130, 9, 2, 65}})
    for (const bool add : {false, true}) {
      CAPTURE(s.samples, s.positions, s.channels, s.group, add);
      Queue one({}, 1), three({}, 3);
      const std::vector<float> x = random_tensor(size(s), 1), gamma = random_tensor(s.channels, 2),
                               beta = random_tensor(s.channels, 3), cotangent = random_tensor(size(s), 6);
      std::vector<float> addend = random_tensor(size(s), 8);
      const BatchNormEpilogue tail{add ? addend.data() : nullptr, true};
      const Forward plain = run_forward(one, s, x, gamma, beta), fused = run_forward(three, s, x, gamma, beta, tail);
      std::vector<float> expected = plain.y;
      int64_t positive = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        if (add) expected[i] += addend[i];
        expected[i] = std::max(0.0f, expected[i]);
        positive += expected[i] > 0;
      }
      CHECK(fused.y == expected);
      CHECK(positive > 0);
      CHECK(fused.running_mean == plain.running_mean);
      CHECK(fused.running_variance == plain.running_variance);

      std::vector<float> inferred = nan_tensor(size(s)), unfused = inferred;
      for (auto [to, how] : {std::pair{&inferred, tail}, {&unfused, BatchNormEpilogue{}}})
        batch_norm_inference(three,
                             {.rows = s.samples * s.positions,
                              .channels = s.channels,
                              .epsilon = epsilon,
                              .gamma = gamma.data(),
                              .beta = beta.data(),
                              .running_mean = plain.running_mean.data(),
                              .running_variance = plain.running_variance.data(),
                              .epilogue = how},
                             x.data(), to->data());
      for (size_t i = 0; i < unfused.size(); ++i)
        expected[i] = std::max(0.0f, add ? unfused[i] + addend[i] : unfused[i]);
      CHECK(inferred == expected);
      if (add) {  // over the addend
        batch_norm_inference(three,
                             {.rows = s.samples * s.positions,
                              .channels = s.channels,
                              .epsilon = epsilon,
                              .gamma = gamma.data(),
                              .beta = beta.data(),
                              .running_mean = plain.running_mean.data(),
                              .running_variance = plain.running_variance.data(),
                              .epilogue = tail},
                             x.data(), addend.data());
        CHECK(addend == expected);
        continue;
      }
      std::vector<float> again = nan_tensor(size(s));
      batch_norm_normalised(three, s, {plain.mean.data(), plain.inverse_std.data(), gamma.data(), beta.data()},
                            x.data(), again.data());
      CHECK(again == plain.y);
    }
}

TEST_CASE("the backward passes of batch norm give the bits of separate sum and ReLU ops, whatever they overwrite") {
  const bool beyond_piece = GENERATE(false, true);  // a sample that is more than one piece of a sweep
  const auto known_by = GENERATE("no ReLU", "beta", "output");
  const bool two = GENERATE(false, true);
  const BatchNormShape s = beyond_piece ? BatchNormShape{4, 1025, 16, 2} : BatchNormShape{8, 31, 33, 4};
  CAPTURE(beyond_piece, known_by, two);
  Queue one({}, 1), three({}, 3);
  const std::vector<float> x = random_tensor(size(s), 1), gamma = random_tensor(s.channels, 2),
                           beta = random_tensor(s.channels, 3), first = random_tensor(size(s), 6),
                           second = random_tensor(size(s), 9), addend = random_tensor(size(s), 8);
  const bool by_beta = known_by == std::string("beta"), by_output = known_by == std::string("output");
  const Forward forward = run_forward(one, s, x, gamma, beta, {by_output ? addend.data() : nullptr, true});
  std::vector<float> expected_addend(first);
  for (size_t i = 0; i < first.size(); ++i) {
    if (two) expected_addend[i] += second[i];
    if ((by_beta || by_output) && !(forward.y[i] > 0)) expected_addend[i] = 0;
  }

  // Where the gradients of the addend and of x are written.
  enum class To { nowhere, new_array, first, second, addend };
  const auto gradients = [&](Queue& queue, bool ops_before, To to_addend, To to_x) {
    std::vector<float> grad_y = ops_before ? expected_addend : first, other = second,
                       parameters = random_tensor(4 * s.channels, 7), new_addend = nan_tensor(size(s)),
                       new_x = nan_tensor(size(s));
    float *const p = parameters.data(),
                 *const grad_addend = to_addend == To::nowhere  ? nullptr
                                      : to_addend == To::first  ? grad_y.data()
                                      : to_addend == To::second ? other.data()
                                                                : new_addend.data(),
                 *const grad_x = to_x == To::new_array ? new_x.data()
                                 : to_x == To::first   ? grad_y.data()
                                 : to_x == To::second  ? other.data()
                                                       : grad_addend;
    batch_norm_backward(queue, s,
                        BatchNormBackward{.x = x.data(),
                                          .gamma = gamma.data(),
                                          .mean = forward.mean.data(),
                                          .inverse_std = forward.inverse_std.data(),
                                          .grad_y = grad_y.data(),
                                          .other_grad_y = two && !ops_before ? other.data() : nullptr,
                                          .relu_beta = by_beta && !ops_before ? beta.data() : nullptr,
                                          .relu_output = by_output && !ops_before ? forward.y.data() : nullptr,
                                          .grad_gamma = p,
                                          .grad_beta = p + s.channels,
                                          .gamma_second_moment = p + 2 * s.channels,
                                          .beta_second_moment = p + 3 * s.channels,
                                          .grad_addend = grad_addend,
                                          .grad_x = grad_x});
    if (grad_addend && grad_addend != grad_x)
      CHECK(std::equal(expected_addend.begin(), expected_addend.end(), grad_addend));
    parameters.insert(parameters.end(), grad_x, grad_x + size(s));
    return parameters;
  };
  const std::vector<float> separate = gradients(one, true, To::nowhere, To::new_array);
  for (const To to_addend : {To::nowhere, To::new_array, To::first, To::second})
    for (const To to_x : {To::new_array, To::first, To::second, To::addend}) {
      const bool needs_addend = two || by_output || to_x == To::addend;
      if (to_addend == To::nowhere && needs_addend) continue;
      INFO("addend's gradient " << static_cast<int>(to_addend) << ", x's " << static_cast<int>(to_x));
      CHECK(gradients(three, false, to_addend, to_x) == separate);
    }
  if (!two && !by_output) return;
  CHECK_THROWS_WITH(
      gradients(one, false, To::nowhere, To::new_array),
      "batch norm: a second gradient and a saved output of the ReLU need an array for the addend's gradient");
}

TEST_CASE("a NaN goes through the ReLU in the pass of batch norm") {
  Queue queue({}, 1);
  const BatchNormShape s{4, 3, 2, 4};
  std::vector<float> x = random_tensor(size(s), 1);
  x[3] = NAN;
  const Forward f = run_forward(queue, s, x, {1, 1}, {0, 0}, {nullptr, true});
  for (int64_t i = 0; i < size(s); ++i) CHECK(std::isnan(f.y[i]) == (i % 2 == 1));
}
